//! `hostPath`: checks that the path is of the type asked for, and makes it where the type says so.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The path when it is as `kind` wants it.
pub(crate) fn check(path: &str, kind: &str) -> Result<PathBuf, String> {
    let target = Path::new(path);
    if !target.is_absolute() || path.split('/').any(|part| part == "..") {
        return Err(format!("hostPath {path:?} must be absolute and must not contain '..'"));
    }
    let meta = match fs::metadata(target) {
        Ok(meta) => Some(meta),
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => None,
        Err(problem) => return Err(format!("hostPath type check failed: {path}: {problem}")),
    };
    let is = |test: fn(&fs::Metadata) -> bool| meta.as_ref().is_some_and(test);
    let (fits, what) = match kind {
        "" => {
            // As upstream: without a type the runtime makes a missing folder.
            if meta.is_none() {
                make_dir(target)?;
            }
            (true, "")
        }
        "DirectoryOrCreate" => {
            if meta.is_none() {
                make_dir(target)?;
            }
            (meta.is_none() || is(fs::Metadata::is_dir), "a directory")
        }
        "Directory" => (is(fs::Metadata::is_dir), "a directory"),
        "FileOrCreate" => {
            if meta.is_none() {
                let mut options = fs::OpenOptions::new();
                let made = options.write(true).create_new(true).mode(0o644).open(target);
                made.map_err(|problem| format!("creating file {path}: {problem}"))?;
            }
            (meta.is_none() || is(fs::Metadata::is_file), "a file")
        }
        "File" => (is(fs::Metadata::is_file), "a file"),
        "Socket" => (is(|meta| meta.file_type().is_socket()), "a socket file"),
        "CharDevice" => (is(|meta| meta.file_type().is_char_device()), "a character device"),
        "BlockDevice" => (is(|meta| meta.file_type().is_block_device()), "a block device"),
        other => return Err(format!("{other} is an invalid volume type")),
    };
    if fits { Ok(target.to_path_buf()) } else { Err(format!("hostPath type check failed: {path} is not {what}")) }
}

fn make_dir(path: &Path) -> Result<(), String> {
    let text = |problem: io::Error| format!("creating directory {}: {problem}", path.display());
    fs::create_dir_all(path).map_err(text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(text)
}
