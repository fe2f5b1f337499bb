//! The operating-system user that PostgreSQL runs as: it refuses to run as root.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use super::error::EmbeddedError;

/// A user that owns the cluster's files and runs its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub uid: u32,
    pub gid: u32,
    pub name: String,
    /// The program runs as root and hands the server to this user.
    pub dropped_from_root: bool,
}

impl Account {
    /// The program's own user; as root the owner of an existing `cluster`, else `postgres`, else `nobody`.
    pub fn choose(cluster: &Path) -> Result<Self, EmbeddedError> {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let owner = fs::metadata(cluster).ok().map(|metadata| (metadata.uid(), metadata.gid()));
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        if uid != 0 {
            if let Some((owner, _)) = owner.filter(|(owner, _)| *owner != uid) {
                return Err(EmbeddedError::WrongOwner { path: cluster.to_path_buf(), owner });
            }
            return Ok(Self { uid, gid, name: name_of(&users, uid), dropped_from_root: false });
        }
        let (uid, gid) = owner
            .filter(|(owner, _)| *owner != 0)
            .or_else(|| ids_of(&users, "postgres"))
            .or_else(|| ids_of(&users, "nobody"))
            .ok_or(EmbeddedError::NoAccount)?;
        Ok(Self { uid, gid, name: name_of(&users, uid), dropped_from_root: true })
    }

    /// Makes `path` the account's own.
    pub fn take(&self, path: &Path) -> Result<(), EmbeddedError> {
        if self.dropped_from_root {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
                .map_err(|error| EmbeddedError::io("give away", path, error))?;
        }
        Ok(())
    }

    /// Whether the account can enter and write the folder, asked by trying it as that user.
    pub fn reaches(&self, folder: &Path) -> bool {
        let mut command = Command::new("/usr/bin/test");
        command.args(["-w"]).arg(folder).args(["-a", "-x"]).arg(folder);
        command.current_dir("/").env_clear().stdin(Stdio::null()).stderr(Stdio::null());
        if self.dropped_from_root {
            command.uid(self.uid).gid(self.gid);
        }
        command.status().is_ok_and(|status| status.success())
    }
}

/// User and group number of a name in the text of a passwd file.
fn ids_of(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        Some((uid, fields.next()?.parse().ok()?))
    })
}

fn name_of(users: &str, uid: u32) -> String {
    let number = uid.to_string();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    name.unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(ids_of(users, "postgres"), Some((101, 104)));
        assert_eq!(ids_of(users, "nobody"), None);
        assert_eq!(name_of(users, 101), "postgres");
        assert_eq!(name_of(users, 4242), "4242");
    }
}
