//! A small file system of its own, which can be filled to the last byte.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room that is left beside the ballast when the disk is made small, so that it takes no gigabytes to fill it.
const MARGIN_KIB: u64 = 4_096;

/// A tmpfs; unmounted when it goes.
pub struct SmallDisk {
    folder: PathBuf,
    size: &'static str,
}

impl SmallDisk {
    /// Mounts it. Refused where mounting is not permitted.
    pub fn mount(folder: &Path, size: &'static str) -> Result<Self, String> {
        std::fs::create_dir(folder).unwrap();
        let options = format!("size={size},mode=0755");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "daybook-torture"]).arg(folder))?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        Ok(Self { folder: folder.to_owned(), size })
    }

    /// Fills it up.
    pub fn fill(&self) {
        let used = rustix::fs::statvfs(&self.folder).unwrap();
        let used_kib = (used.f_blocks - used.f_bfree) * used.f_frsize / 1_024;
        self.resize(&format!("{}k", used_kib + MARGIN_KIB));
        let mut ballast = std::fs::File::create(self.ballast()).unwrap();
        for piece in [vec![1; 65_536], vec![1; 512]] {
            while ballast.write_all(&piece).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        let _ = std::fs::remove_file(self.ballast());
        self.resize(self.size);
    }

    fn resize(&self, size: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.folder)).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still be in it.
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(&self.folder)) {
            eprintln!("{} stays mounted: {error}", self.folder.display());
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
