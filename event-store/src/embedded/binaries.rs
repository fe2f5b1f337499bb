//! Finds the PostgreSQL server programs on this machine.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::error::EmbeddedError;

/// Oldest major version whose behaviour the log relies on.
pub(super) const MINIMUM_MAJOR: u32 = 15;

/// Environment variable that names the folder of `initdb` and `postgres`.
pub(super) const BINARIES_VARIABLE: &str = "DAYBOOK_POSTGRES_BIN";

/// A folder that holds `initdb` and `postgres` of one version.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    pub folder: PathBuf,
    pub major: u32,
    /// As the server tells it, for example `15.14`.
    pub version: String,
}

impl Binaries {
    pub fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    pub fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    /// Whether this build of the server takes the setting. No cluster is needed to ask: any folder passes for one.
    pub fn accept(&self, setting: &str, value: &str) -> bool {
        let asked = Command::new(self.postgres())
            .args(["-C", setting, "-c", &format!("{setting}={value}"), "-c", "config_file=/dev/null", "-D"])
            .arg(&self.folder)
            .env_clear()
            .output();
        asked.is_ok_and(|answer| {
            answer.status.success() && String::from_utf8_lossy(&answer.stdout).trim() == value
        })
    }

    /// Looks at one folder; the error says what it lacks.
    fn probe(folder: &Path) -> Result<Self, String> {
        for program in ["initdb", "postgres"] {
            if !folder.join(program).is_file() {
                return Err(format!("has no {program}"));
            }
        }
        let postgres = folder.join("postgres");
        let output = Command::new(&postgres)
            .arg("--version")
            .env_clear()
            .output()
            .map_err(|error| format!("has a postgres that cannot be run ({error})"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = parse_version(&text)
            .ok_or_else(|| format!("has a postgres of unknown version ({})", text.trim()))?;
        let major = version
            .chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .map_err(|_| format!("has a postgres of unknown version ({version})"))?;
        Ok(Self { folder: folder.to_path_buf(), major, version })
    }
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` → `15.14`.
fn parse_version(text: &str) -> Option<String> {
    text.split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
        .map(str::to_owned)
}

/// The programs for a cluster: those of `wanted` (the major version that made it) or the newest.
///
/// `DAYBOOK_POSTGRES_BIN` decides alone when it is set; otherwise `PATH`, Debian's folders and
/// `pg_config` are asked. `pg_config` comes last since it may be installed without a server.
pub(super) fn find(cluster: &Path, wanted: Option<&str>) -> Result<Binaries, EmbeddedError> {
    let found = match env::var_os(BINARIES_VARIABLE).filter(|value| !value.is_empty()) {
        Some(folder) => {
            let folder = PathBuf::from(folder);
            let wrong = |problem| EmbeddedError::WrongBinaries { folder: folder.clone(), problem };
            let binaries = Binaries::probe(&folder).map_err(wrong)?;
            if binaries.major < MINIMUM_MAJOR {
                return Err(wrong(format!(
                    "holds PostgreSQL {}, older than {MINIMUM_MAJOR}",
                    binaries.version
                )));
            }
            vec![binaries]
        }
        None => usable(&candidate_folders())?,
    };
    choose(cluster, wanted, found)
}

fn usable(folders: &[PathBuf]) -> Result<Vec<Binaries>, EmbeddedError> {
    let found: Vec<_> = folders
        .iter()
        .filter_map(|folder| Binaries::probe(folder).ok())
        .filter(|binaries| binaries.major >= MINIMUM_MAJOR)
        .collect();
    if found.is_empty() {
        let searched: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        return Err(EmbeddedError::NoServer { minimum: MINIMUM_MAJOR, searched: searched.join(", ") });
    }
    Ok(found)
}

fn choose(cluster: &Path, wanted: Option<&str>, found: Vec<Binaries>) -> Result<Binaries, EmbeddedError> {
    let installed: BTreeSet<_> = found.iter().map(|binaries| binaries.major.to_string()).collect();
    let chosen = match wanted {
        Some(wanted) => found.into_iter().find(|binaries| binaries.major.to_string() == wanted),
        // The first of the newest: PATH before Debian's folders.
        None => found.into_iter().reduce(|best, next| if next.major > best.major { next } else { best }),
    };
    chosen.ok_or_else(|| EmbeddedError::VersionMismatch {
        cluster: cluster.to_path_buf(),
        made_by: wanted.unwrap_or("?").to_owned(),
        installed: installed.into_iter().collect::<Vec<_>>().join(", "),
    })
}

fn candidate_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).filter(|folder| folder.join("initdb").is_file()).collect())
        .unwrap_or_default();
    let debian = Path::new("/usr/lib/postgresql");
    let versions = std::fs::read_dir(debian).into_iter().flatten().flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    if folders.is_empty() {
        folders.push(debian.join("*/bin"));
    }
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        folders.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    folders.dedup();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(major: u32) -> Binaries {
        Binaries { folder: format!("/pg/{major}").into(), major, version: format!("{major}.1") }
    }

    #[test]
    fn the_version_is_read_from_what_the_server_says() {
        assert_eq!(
            parse_version("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n").as_deref(),
            Some("15.14")
        );
        assert_eq!(parse_version("postgres (PostgreSQL) 17beta1").as_deref(), Some("17beta1"));
        assert_eq!(parse_version("nonsense"), None);
    }

    #[test]
    fn a_new_cluster_takes_the_newest_and_an_old_one_its_own() {
        let found = || vec![binaries(15), binaries(17), binaries(16)];
        let cluster = Path::new("/data");
        assert_eq!(choose(cluster, None, found()).unwrap().major, 17);
        assert_eq!(choose(cluster, Some("16"), found()).unwrap().major, 16);
        let error = choose(cluster, Some("14"), found()).unwrap_err().to_string();
        assert!(error.contains("PostgreSQL 14") && error.contains("15, 16, 17"), "{error}");
        assert!(error.contains("apt install postgresql-14"), "{error}");
    }

    #[test]
    fn without_a_server_the_error_says_what_to_install() {
        let error = usable(&["/nowhere/bin".into()]).unwrap_err().to_string();
        assert!(error.contains("/nowhere/bin") && error.contains("apt install postgresql"), "{error}");
    }
}
