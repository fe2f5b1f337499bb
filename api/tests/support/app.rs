//! The whole server in this process, on a database of its own.

use std::collections::HashMap;
use std::time::Duration;

use api::application::Application;
use api::auth::Keys;
use api::settings::{FeedSpeed, LimitSettings, ServeSettings, StoreSettings};
use commands::Role;
use event_store::embedded::Role as DatabaseRole;
use event_store::embedded::testing::TestDatabase;
use sqlx::ConnectOptions as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Client;

/// A server with a key for each role, and traders for alice and bob; `trader` is alice's. It ends with the value.
pub struct TestApp {
    pub client: Client,
    pub database: TestDatabase,
    pub keys: Keys,
    stop: CancellationToken,
    running: Option<JoinHandle<anyhow::Result<()>>>,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for TestApp {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Settings for a free port, without demo and feed.
pub fn settings() -> ServeSettings {
    ServeSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        peer_listen: None,
        peer_advertise: None,
        store: StoreSettings { data_dir: ".".into(), database_url: None, migration_url: None },
        demo: Some(false),
        feed_speed: FeedSpeed(None),
        tick_retention: Duration::from_secs(3_600),
        allow_unsafe_role: false,
        limits: LimitSettings::default(),
    }
}

impl TestApp {
    /// An empty server.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A server with changed settings.
    pub async fn start_with(change: impl FnOnce(&mut ServeSettings)) -> Self {
        let database = TestDatabase::create().await.expect("a database for tests");
        let keys = Keys::new(database.app.clone());
        let mut by_name = HashMap::new();
        for role in Role::OF_KEYS.into_iter().filter(|role| *role != Role::Trader) {
            let key = keys.create(role.as_str(), role, None).await.unwrap();
            by_name.insert(role.as_str().to_owned(), key.reveal().to_owned());
        }
        for trader in ["alice", "bob", "demo"] {
            let key = keys.create(trader, Role::Trader, Some(trader)).await.unwrap();
            by_name.insert(trader.to_owned(), key.reveal().to_owned());
        }
        by_name.insert("trader".to_owned(), by_name["alice"].clone());
        Self::start_on(database, keys, by_name, change).await
    }

    /// Another node on the same database, for the same callers.
    pub async fn beside(&self, change: impl FnOnce(&mut ServeSettings)) -> Self {
        Self::start_on(self.database.clone(), self.keys.clone(), self.client.keys.clone(), change).await
    }

    async fn start_on(
        database: TestDatabase,
        keys: Keys,
        by_name: HashMap<String, String>,
        change: impl FnOnce(&mut ServeSettings),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings();
        settings.store.data_dir = folder.path().to_owned();
        let options = database.connect_options(DatabaseRole::App).await.unwrap();
        settings.store.database_url = Some(options.to_url_lossy().to_string());
        change(&mut settings);
        let application = Application::build(settings).await.expect("a server");
        let client = Client::new(application.address().unwrap(), by_name);
        let stop = CancellationToken::new();
        let running = Some(tokio::spawn(application.run_until_stopped(stop.clone())));
        client.ready().await;
        Self { client, database, keys, stop, running, _folder: folder }
    }

    /// Stops it in order.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            running.await.unwrap().unwrap();
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
