//! Addresses: one file each, named after the address, holding its owner. Durable before it is used.
//!
//! The same owner gets the same address for as long as it is not released, across reboots. A freed address is
//! given out again as late as possible, so that stale neighbour entries and connections do not meet a new pod.

use crate::config::Range4;
use crate::error::{CniError, IO_FAILURE, NO_ADDRESS};
use crate::paths::is_plain;
use rustix::fs::{FlockOperation, flock};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Whoever holds an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
}

impl Owner {
    /// An owner by its two names.
    pub fn new(container_id: &str, ifname: &str) -> Owner {
        Owner { container_id: container_id.into(), ifname: ifname.into() }
    }

    fn line(&self) -> String {
        format!("{}\n{}\n", self.container_id, self.ifname)
    }

    fn parse(text: &str) -> Option<Owner> {
        let mut lines = text.lines();
        Some(Owner::new(lines.next()?, lines.next()?))
    }
}

/// The addresses of one network, locked against other processes for as long as this lives.
#[derive(Debug)]
pub struct Ipam {
    dir: PathBuf,
    _lock: File,
}

/// An allocation, and whether it is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The address.
    pub ip: Ipv4Addr,
    /// The range that it is from.
    pub range: Range4,
    /// The owner did not have it before this call.
    pub fresh: bool,
}

fn failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> CniError {
    let msg = format!("{what} {}", path.display());
    move |err| CniError::with(IO_FAILURE, msg, err)
}

impl Ipam {
    /// Opens the folder of a network and takes its lock; waits for whoever has it.
    ///
    /// # Errors
    /// Code 5 when the folder cannot be used.
    pub fn open(data_dir: &Path, network: &str) -> Result<Ipam, CniError> {
        let dir = data_dir.join(network);
        fs::create_dir_all(&dir).map_err(failed("cannot make", &dir))?;
        let path = dir.join("lock");
        let lock =
            fs::OpenOptions::new().create(true).append(true).open(&path).map_err(failed("cannot open", &path))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|err| failed("cannot lock", &path)(err.into()))?;
        Ok(Ipam { dir, _lock: lock })
    }

    /// Every address with its owner. A file that a power cut left empty belongs to nobody.
    ///
    /// # Errors
    /// Code 5.
    pub fn list(&self) -> Result<HashMap<Ipv4Addr, Owner>, CniError> {
        let mut found = HashMap::new();
        for entry in fs::read_dir(&self.dir).map_err(failed("cannot read", &self.dir))? {
            let entry = entry.map_err(failed("cannot read", &self.dir))?;
            let Some(ip) = entry.file_name().to_str().and_then(|name| name.parse::<Ipv4Addr>().ok()) else { continue };
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            found.insert(ip, Owner::parse(&text).unwrap_or_else(|| Owner::new("", "")));
        }
        Ok(found)
    }

    /// One address per range, the owner's old ones if it has any.
    ///
    /// # Errors
    /// Code 100 when a range is used up, 5 when the disk fails.
    pub fn allocate(&self, owner: &Owner, ranges: &[Range4]) -> Result<Vec<Allocation>, CniError> {
        let taken = self.list()?;
        let mut given = Vec::new();
        for range in ranges {
            let old = taken.iter().find(|(ip, holder)| *holder == owner && range.subnet.contains(*ip));
            if let Some((ip, _)) = old {
                given.push(Allocation { ip: *ip, range: *range, fresh: false });
                continue;
            }
            match self.take(owner, *range, &taken) {
                Ok(ip) => given.push(Allocation { ip, range: *range, fresh: true }),
                Err(err) => {
                    for allocation in given.iter().filter(|allocation| allocation.fresh) {
                        let _ = self.free(allocation.ip);
                    }
                    return Err(err);
                }
            }
        }
        Ok(given)
    }

    fn take(&self, owner: &Owner, range: Range4, taken: &HashMap<Ipv4Addr, Owner>) -> Result<Ipv4Addr, CniError> {
        let (first, last) = (u32::from(range.subnet.network()) + 1, u32::from(range.subnet.broadcast()) - 1);
        let mark = self.dir.join(format!("last-{}-{}", range.subnet.network(), range.subnet.prefix_len()));
        let previous = fs::read_to_string(&mark).ok().and_then(|text| text.trim().parse::<Ipv4Addr>().ok());
        let start = previous.map_or(first, |ip| u32::from(ip).saturating_add(1)).clamp(first, last);
        let free = |number: &u32| {
            let ip = Ipv4Addr::from(*number);
            // An owner without a name is the trace of a torn write: the address is free.
            ip != range.gateway && taken.get(&ip).is_none_or(|holder| holder.container_id.is_empty())
        };
        let found = (start..=last).chain(first..start).find(free).map(Ipv4Addr::from);
        let ip = found.ok_or_else(|| {
            CniError::with(NO_ADDRESS, "no IP addresses available", format!("range {} is used up", range.subnet))
        })?;
        let path = self.dir.join(ip.to_string());
        write_durably(&self.dir, &path, owner.line().as_bytes()).map_err(failed("cannot write", &path))?;
        // Only a hint: not worth a sync.
        let _ = fs::write(&mark, ip.to_string());
        Ok(ip)
    }

    fn free(&self, ip: Ipv4Addr) -> Result<(), CniError> {
        let path = self.dir.join(ip.to_string());
        match fs::remove_file(&path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(failed("cannot remove", &path)(err)),
            _ => Ok(()),
        }
    }

    /// The addresses of an owner.
    ///
    /// # Errors
    /// Code 5.
    pub fn of(&self, owner: &Owner) -> Result<Vec<Ipv4Addr>, CniError> {
        Ok(self.list()?.into_iter().filter(|(_, holder)| holder == owner).map(|(ip, _)| ip).collect())
    }

    /// Gives an owner's addresses back. Fine when it has none.
    ///
    /// # Errors
    /// Code 5.
    pub fn release(&self, owner: &Owner) -> Result<Vec<Ipv4Addr>, CniError> {
        let ips = self.of(owner)?;
        for ip in &ips {
            self.free(*ip)?;
        }
        Ok(ips)
    }

    /// Gives back whatever belongs to none of `valid`; returns who lost something.
    ///
    /// # Errors
    /// Code 5.
    pub fn keep_only(&self, valid: &HashSet<Owner>) -> Result<Vec<Owner>, CniError> {
        let mut gone = Vec::new();
        for (ip, owner) in self.list()? {
            if !valid.contains(&owner) {
                self.free(ip)?;
                gone.push(owner);
            }
        }
        Ok(gone)
    }
}

/// Whether an owner's names can be kept.
pub(crate) fn valid_owner(owner: &Owner) -> bool {
    is_plain(&owner.container_id) && is_plain(&owner.ifname) && owner.ifname.len() <= 15
}

/// Writes a file so that after a power cut it is there in full or not at all.
pub(crate) fn write_durably(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(".new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range4 {
        let subnet: ipnet::Ipv4Net = text.parse().unwrap();
        Range4 { subnet, gateway: Ipv4Addr::from(u32::from(subnet.network()) + 1) }
    }

    #[test]
    fn owners_keep_their_address_and_freed_ones_come_back_last() {
        let dir = tempfile::tempdir().unwrap();
        let ranges = [range("10.1.0.0/29")];
        let open = || Ipam::open(dir.path(), "net").unwrap();
        let ip =
            |owner: &str| open().allocate(&Owner::new(owner, "eth0"), &ranges).map(|given| given[0].ip.octets()[3]);
        assert_eq!((ip("a").unwrap(), ip("b").unwrap(), ip("a").unwrap()), (2, 3, 2));
        open().release(&Owner::new("a", "eth0")).unwrap();
        assert_eq!((ip("c").unwrap(), ip("d").unwrap(), ip("e").unwrap()), (4, 5, 6));
        assert_eq!(ip("f").unwrap(), 2);
        let err = ip("g").unwrap_err();
        assert_eq!((err.code, err.msg.as_str()), (NO_ADDRESS, "no IP addresses available"));
        let valid = HashSet::from([Owner::new("b", "eth0")]);
        assert_eq!(open().keep_only(&valid).unwrap().len(), 4);
        assert_eq!(open().list().unwrap().len(), 1);
    }

    #[test]
    fn a_second_range_that_is_full_gives_the_first_back() {
        let dir = tempfile::tempdir().unwrap();
        let ranges = [range("10.1.0.0/24"), range("10.2.0.0/30")];
        let ipam = Ipam::open(dir.path(), "net").unwrap();
        ipam.allocate(&Owner::new("a", "eth0"), &ranges).unwrap();
        assert!(ipam.allocate(&Owner::new("b", "eth0"), &ranges).is_err());
        assert_eq!(ipam.of(&Owner::new("b", "eth0")).unwrap(), Vec::<Ipv4Addr>::new());
    }

    #[test]
    fn a_torn_file_is_a_free_address() {
        let dir = tempfile::tempdir().unwrap();
        let ipam = Ipam::open(dir.path(), "net").unwrap();
        fs::write(dir.path().join("net/10.1.0.2"), b"").unwrap();
        let given = ipam.allocate(&Owner::new("a", "eth0"), &[range("10.1.0.0/30")]).unwrap();
        assert_eq!(given[0].ip, Ipv4Addr::new(10, 1, 0, 2));
        assert_eq!(ipam.of(&Owner::new("a", "eth0")).unwrap(), [given[0].ip]);
    }
}
