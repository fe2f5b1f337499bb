//! Clusters for tests and measurements: made in a moment, gone without a trace.

use std::{
    fs,
    ops::Deref,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use super::{Cluster, Options, account::Account, binaries, error::EmbeddedError, home, initdb};

/// Waits for the end of its standard input, which is the end of this process, then for the server's, and clears up.
const CLEAR_UP: &str = r#"
read -r _
for _ in $(seq 200); do test -e "$1/postgres/data/postmaster.pid" || break; sleep 0.05; done
rm -rf -- "$1"
"#;

/// A cluster in a folder of its own, which goes with the value or with the process, however that ends.
#[derive(Debug)]
pub struct TemporaryCluster {
    /// Emptied by the drop, which removes the folder after it.
    cluster: Option<Cluster>,
    folder: TemporaryFolder,
}

impl Cluster {
    /// Starts a new cluster in a temporary folder; any number at a time.
    ///
    /// `fsync` is on as everywhere. The first call in a `target` folder runs `initdb` and keeps its
    /// result there for all others.
    pub async fn start_temporary() -> Result<TemporaryCluster, EmbeddedError> {
        Self::start_temporary_with(Options::default()).await
    }

    /// The same with options, for example the settings that a measurement wants.
    pub async fn start_temporary_with(options: Options) -> Result<TemporaryCluster, EmbeddedError> {
        let folder = super::blocking(TemporaryFolder::create).await?;
        let template = template().await?;
        let mut settings = small();
        settings.extend(options.settings);
        let options = Options { settings, template, disposable: true };
        let cluster = Self::open_or_create(folder.path(), options).await?;
        Ok(TemporaryCluster { cluster: Some(cluster), folder })
    }
}

impl Deref for TemporaryCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        match &self.cluster {
            Some(cluster) => cluster,
            None => unreachable!("only the drop empties it"),
        }
    }
}

impl Drop for TemporaryCluster {
    fn drop(&mut self) {
        self.cluster = None;
        self.folder.remove();
    }
}

/// Many clusters share a machine, and many pools a cluster.
fn small() -> Vec<(String, String)> {
    [
        ("shared_buffers", "64MB"),
        ("max_connections", "400"),
        ("min_wal_size", "32MB"),
        ("max_wal_size", "512MB"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// A folder under the system's temporary folder and the shell that removes it should this process die.
#[derive(Debug)]
struct TemporaryFolder {
    path: PathBuf,
    janitor: Option<Child>,
}

impl TemporaryFolder {
    fn create() -> Result<Self, EmbeddedError> {
        let path = std::env::temp_dir().join(format!("daybook-{}", home::random_digits(12)));
        fs::create_dir(&path).map_err(|error| EmbeddedError::io("create", &path, error))?;
        home::open_for_passage(&path)?;
        let janitor = Command::new("/bin/sh")
            .args(["-c", CLEAR_UP, "sh"])
            .arg(&path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| EmbeddedError::io("run", "/bin/sh", error))?;
        Ok(Self { path, janitor: Some(janitor) })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn remove(&mut self) {
        // An error here leaves the work to the janitor.
        let _ = fs::remove_dir_all(&self.path);
        if let Some(mut janitor) = self.janitor.take() {
            drop(janitor.stdin.take());
            let _ = janitor.wait();
        }
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A data directory to copy, kept in the `target` folder that this program was built into.
async fn template() -> Result<Option<PathBuf>, EmbeddedError> {
    let Some(target) = target_folder() else { return Ok(None) };
    let account = Account::choose(Path::new(""))?;
    let binaries = binaries::find(Path::new(""), None)?;
    let setup = home::short_hash(crate::migrate::BOOTSTRAP.as_bytes());
    let name = format!("{}-{}-{setup}", binaries.version, account.uid);
    let templates = target.join("daybook-clusters");
    let template = templates.join(&name);
    if template.join("PG_VERSION").is_file() {
        return Ok(Some(template));
    }
    // PostgreSQL's user may not reach `target`, so it is made elsewhere and brought in.
    let folder = super::blocking(TemporaryFolder::create).await?;
    let cluster = Cluster::open_or_create(folder.path(), Options::default()).await?;
    let data = cluster.home().join("data");
    cluster.stop().await;
    super::blocking(move || {
        fs::create_dir_all(&templates).map_err(|error| EmbeddedError::io("create", &templates, error))?;
        let own = templates.join(format!("{name}.{}", home::random_digits(8)));
        initdb::copy(&data, &own)?;
        drop(folder);
        if let Err(error) = fs::rename(&own, &template) {
            // Another process was first.
            let _ = fs::remove_dir_all(&own);
            if !template.join("PG_VERSION").is_file() {
                return Err(EmbeddedError::io("create", &template, error));
            }
        }
        Ok(Some(template))
    })
    .await
}

fn target_folder() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let program = std::env::current_exe().ok()?;
            let tagged = |folder: &&Path| folder.join("CACHEDIR.TAG").is_file();
            program.ancestors().find(tagged).map(Path::to_path_buf)
        })
        .as_deref()
}
