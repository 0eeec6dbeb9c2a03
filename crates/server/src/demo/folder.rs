//! The folder that a demo keeps its data in, and has for itself.

use std::{
    error::Error,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

/// A folder that no other demo uses.
#[derive(Debug)]
pub(super) struct DataFolder {
    pub(super) path: PathBuf,
    /// Locked until the process ends, however it ends.
    _lock: File,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    /// Something in it cannot be read or written.
    #[error("cannot use the folder {} (--data)", .folder.display())]
    Unusable {
        folder: PathBuf,
        #[source]
        error: Box<dyn Error + Send + Sync>,
    },
    /// Another demo is at work in it.
    #[error("another demo uses the folder {}: stop it, or name another folder with --data", .0.display())]
    Taken(PathBuf),
}

impl DataFolder {
    /// Makes the folder if it is not there, and takes it.
    pub(super) fn open(path: &Path) -> Result<Self, FolderError> {
        let unusable = |error: std::io::Error| FolderError::Unusable { folder: path.to_owned(), error: error.into() };
        std::fs::create_dir_all(path).map_err(unusable)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock"));
        let lock = lock.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::Taken(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// The error of something in the folder, with its name.
    pub(super) fn unusable(&self, error: impl Into<Box<dyn Error + Send + Sync>>) -> FolderError {
        FolderError::Unusable { folder: self.path.clone(), error: error.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_demo_at_a_time() {
        let path = std::env::temp_dir().join(format!("crosstie folder {}", std::process::id()));
        let first = DataFolder::open(&path.join("a/b")).expect("the folder is made");
        let error = DataFolder::open(&first.path).expect_err("the folder is taken");
        assert!(error.to_string().contains("a/b") && error.to_string().contains("--data"), "{error}");
        let folder = first.path.clone();
        drop(first);
        DataFolder::open(&folder).expect("the folder is free");
        let error = DataFolder::open(&folder.join("lock")).expect_err("a file is no folder");
        assert!(error.to_string().starts_with("cannot use the folder"), "{error}");
        std::fs::remove_dir_all(path).expect("the folder is removed");
    }
}
