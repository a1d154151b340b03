//! Looking at the manifests: cheaply, since it is done for ever. A file is read when its marks have changed. All of it blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of a manifest: far more than a pod has.
const MAX_BYTES: u64 = 1 << 20;
/// Manifests; more than pods of a node.
const MAX_FILES: usize = 256;

/// What tells one content of a file from the next: time of the last change, size, and which file it is.
type Marks = (i64, i64, u64, u64);

/// The place of the manifests.
pub(super) struct Folder {
    path: PathBuf,
    known: BTreeMap<String, Marks>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// All manifests.
    pub(super) present: BTreeSet<String>,
    /// Those whose content is new, or why it cannot be read.
    pub(super) changed: BTreeMap<String, Result<Vec<u8>, String>>,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Folder {
        Folder { path, known: BTreeMap::new() }
    }

    /// The same, with everything new.
    pub(super) fn forgetful(self) -> Folder {
        Folder::new(self.path)
    }

    /// The whole path of a manifest.
    pub(super) fn path_of(&self, file: &str) -> PathBuf {
        match self.path.file_name() {
            Some(name) if name == file && !self.path.is_dir() => self.path.clone(),
            _ => self.path.join(file),
        }
    }

    /// Looks. A path that does not exist holds no manifests, as upstream.
    ///
    /// # Errors
    /// When the folder cannot be read: then nothing is known of what is in it.
    pub(super) fn look(&mut self) -> Result<Look, String> {
        let failed = |err: io::Error| format!("{}: {err}", self.path.display());
        let found = match fs::metadata(&self.path) {
            Ok(meta) if meta.is_dir() => listed(&self.path).map_err(failed)?,
            Ok(_) => {
                let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                BTreeMap::from([(name, self.path.clone())])
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(err) => return Err(failed(err)),
        };
        if found.len() > MAX_FILES {
            return Err(format!("{}: {} manifests are more than {MAX_FILES}", self.path.display(), found.len()));
        }
        let mut look = Look::default();
        for (name, path) in found {
            let marks = match fs::metadata(&path) {
                // Also a link to one.
                Ok(meta) if !meta.is_file() => continue,
                Ok(meta) => Ok(marks(&meta)),
                // It went in between.
                Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                Err(err) => Err(err),
            };
            look.present.insert(name.clone());
            if marks.as_ref().is_ok_and(|marks| self.known.get(&name) == Some(marks)) {
                continue;
            }
            let read = marks.and_then(|marks| Ok((marks, content(&path)?)));
            let text = read.map(|(marks, text)| {
                self.known.insert(name.clone(), marks);
                text
            });
            look.changed.insert(name, text.map_err(|err| err.to_string()));
        }
        self.known.retain(|name, _| look.present.contains(name));
        Ok(look)
    }
}

fn marks(meta: &Metadata) -> Marks {
    (meta.mtime(), meta.mtime_nsec(), meta.size(), meta.ino())
}

/// Files of a folder but those whose names begin with a dot, such as editors leave.
fn listed(dir: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.')) {
            found.insert(name.to_string(), entry.path());
        }
    }
    Ok(found)
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut folder = Folder::new(dir.path().into());
        fs::write(at("a.yaml"), "a").unwrap();
        fs::write(at(".a.yaml.swp"), "x").unwrap();
        fs::create_dir(at("folder")).unwrap();
        let changed = |look: &Look| -> Vec<String> {
            look.changed.iter().map(|(name, text)| format!("{name}={}", text.as_ref().unwrap().len())).collect()
        };
        assert_eq!(changed(&folder.look().unwrap()), ["a.yaml=1"]);
        assert!(folder.look().unwrap().changed.is_empty());
        fs::write(at("b.json"), "bb").unwrap();
        std::os::unix::fs::symlink(at("b.json"), at("link")).unwrap();
        fs::write(at("a.yaml"), "aaa").unwrap();
        assert_eq!(changed(&folder.look().unwrap()), ["a.yaml=3", "b.json=2", "link=2"]);
        fs::remove_file(at("a.yaml")).unwrap();
        let look = folder.look().unwrap();
        assert_eq!((look.present.len(), look.changed.len()), (2, 0));
        fs::write(at("large"), vec![b'x'; MAX_BYTES as usize + 1]).unwrap();
        for _ in 0..2 {
            let look = folder.look().unwrap();
            assert_eq!(look.changed["large"], Err("it is larger than 1048576 bytes".to_string()));
        }
        // A single file, and none.
        let mut one = Folder::new(at("b.json"));
        assert_eq!(changed(&one.look().unwrap()), ["b.json=2"]);
        assert_eq!(one.path_of("b.json"), at("b.json"));
        let none = Folder::new(at("none")).look().unwrap();
        assert!(none.present.is_empty() && none.changed.is_empty());
    }
}
