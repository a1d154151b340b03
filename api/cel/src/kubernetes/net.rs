//! Addresses and networks (documentation, sections "Kubernetes IP address library" and "Kubernetes CIDR library").

use super::{CIDR, IP, Kubernetes, argument, value};
use crate::error::EvalError;
use crate::functions::{Args, Library};
use crate::types::Type;
use crate::value::{Outcome, Value};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: an address, perhaps with bits behind the prefix, and the length of the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    addr: IpAddr,
    pub(super) bits: u8,
}

pub(super) fn declare(library: &mut Library) {
    let (ip, cidr) = (Type::Opaque(IP.into()), Type::Opaque(CIDR.into()));
    let (one_ip, one_cidr) = ([ip.clone()], [cidr.clone()]);
    library.global("ip", "string_to_ip", &[Type::String], ip.clone(), |args| {
        Ok(value(Kubernetes::Ip(parse_ip(args.text(0)?)?)))
    });
    library.member("family", "ip_family", &one_ip, Type::Int, |args| {
        Ok(Value::Int(if argument!(args, 0, Ip)?.is_ipv4() { 4 } else { 6 }))
    });
    library.global("ip.isCanonical", "ip_is_canonical", &[Type::String], Type::Bool, |args| {
        let text = args.text(0)?;
        Ok(Value::Bool(parse_ip(text)?.to_string() == **text))
    });
    library.member("isUnspecified", "ip_is_unspecified", &one_ip, Type::Bool, |args| {
        Ok(Value::Bool(argument!(args, 0, Ip)?.is_unspecified()))
    });
    library.member("isLoopback", "ip_is_loopback", &one_ip, Type::Bool, |args| {
        Ok(Value::Bool(argument!(args, 0, Ip)?.is_loopback()))
    });
    library.member("isLinkLocalMulticast", "ip_is_link_local_multicast", &one_ip, Type::Bool, |args| {
        Ok(Value::Bool(match argument!(args, 0, Ip)? {
            IpAddr::V4(ip) => matches!(ip.octets(), [224, 0, 0, _]),
            IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
        }))
    });
    library.member("isLinkLocalUnicast", "ip_is_link_local_unicast", &one_ip, Type::Bool, |args| {
        Ok(Value::Bool(is_link_local(argument!(args, 0, Ip)?)))
    });
    library.member("isGlobalUnicast", "ip_is_global_unicast", &one_ip, Type::Bool, |args| {
        let ip = argument!(args, 0, Ip)?;
        let broadcast = *ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        let special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local(ip) || broadcast;
        Ok(Value::Bool(!special))
    });
    library
        .global("isIP", "is_ip", &[Type::String], Type::Bool, |args| Ok(Value::Bool(parse_ip(args.text(0)?).is_ok())));
    library.global("string", "ip_to_string", &one_ip, Type::String, |args| {
        Ok(Value::owned(argument!(args, 0, Ip)?.to_string()))
    });
    library.global("cidr", "string_to_cidr", &[Type::String], cidr.clone(), |args| {
        Ok(value(Kubernetes::Cidr(parse_cidr(args.text(0)?)?)))
    });
    library.member("containsIP", "cidr_contains_ip_string", &[cidr.clone(), Type::String], Type::Bool, contains_ip);
    library.member("containsIP", "cidr_contains_ip_ip", &[cidr.clone(), ip.clone()], Type::Bool, contains_ip);
    let with_text = [cidr.clone(), Type::String];
    library.member("containsCIDR", "cidr_contains_cidr_string", &with_text, Type::Bool, contains_cidr);
    library.member("containsCIDR", "cidr_contains_cidr", &[cidr.clone(), cidr.clone()], Type::Bool, contains_cidr);
    library.member("ip", "cidr_ip", &one_cidr, ip, |args| Ok(value(Kubernetes::Ip(argument!(args, 0, Cidr)?.addr))));
    library.member("prefixLength", "cidr_prefix_length", &one_cidr, Type::Int, |args| {
        Ok(Value::Int(i64::from(argument!(args, 0, Cidr)?.bits)))
    });
    library.member("masked", "cidr_masked", &one_cidr, cidr, |args| {
        let cidr = argument!(args, 0, Cidr)?;
        Ok(value(Kubernetes::Cidr(Cidr { addr: masked(cidr.addr, cidr.bits), ..*cidr })))
    });
    library.global("isCIDR", "is_cidr", &[Type::String], Type::Bool, |args| {
        Ok(Value::Bool(parse_cidr(args.text(0)?).is_ok()))
    });
    library.global("string", "cidr_to_string", &one_cidr, Type::String, |args| {
        Ok(Value::owned(argument!(args, 0, Cidr)?.to_string()))
    });
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, EvalError> {
    if let Some((address, _)) = text.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err(EvalError::new(format!("IP address {text:?} with zone value is not allowed")));
    }
    let wrong = |_| {
        EvalError::new(format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        ))
    };
    let ip: IpAddr = text.parse().map_err(wrong)?;
    match ip {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Err(mapped(text)),
        ip => Ok(ip),
    }
}

fn mapped(text: &str) -> EvalError {
    EvalError::new(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
}

fn parse_cidr(text: &str) -> Result<Cidr, EvalError> {
    const WRONG: &str = "network address parse error during conversion from string";
    let wrong = |why: &str| EvalError::new(format!("{WRONG}: {WRONG}: netip.ParsePrefix({text:?}): {why}"));
    let (address, length) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
    let addr: IpAddr = address.parse().map_err(|_| wrong(&format!("ParseAddr({address:?}): unable to parse IP")))?;
    let plain = length.bytes().all(|b| b.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    let bits: u8 =
        length.parse().ok().filter(|_| plain).ok_or_else(|| wrong(&format!("bad bits after slash: {length:?}")))?;
    if bits > width(addr) {
        return Err(wrong("prefix length out of range"));
    }
    match addr {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Err(mapped(text)),
        addr => Ok(Cidr { addr, bits }),
    }
}

fn width(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn masked(addr: IpAddr, bits: u8) -> IpAddr {
    match addr {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask(u128::from(u32::MAX), 32, bits) as u32)),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask(u128::MAX, 128, bits))),
    }
}

/// The highest `bits` of `width`.
fn mask(all: u128, width: u32, bits: u8) -> u128 {
    let low = width - u32::from(bits).min(width);
    if low == 128 { 0 } else { all >> low << low }
}

impl Cidr {
    fn contains(self, ip: IpAddr) -> bool {
        self.addr.is_ipv4() == ip.is_ipv4() && masked(self.addr, self.bits) == masked(ip, self.bits)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.bits)
    }
}

fn contains_ip<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let ip = match args.value(1)? {
        Value::String(text) => parse_ip(text)?,
        _ => *argument!(args, 1, Ip)?,
    };
    Ok(Value::Bool(argument!(args, 0, Cidr)?.contains(ip)))
}

fn contains_cidr<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let other = match args.value(1)? {
        Value::String(text) => parse_cidr(text)?,
        _ => *argument!(args, 1, Cidr)?,
    };
    let cidr = argument!(args, 0, Cidr)?;
    Ok(Value::Bool(cidr.bits <= other.bits && cidr.contains(other.addr)))
}
