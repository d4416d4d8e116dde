//! Tests that every store must pass: admission of sides, storage of messages, and statistics. Each case is a separate
//! test on each back end.

#![expect(clippy::wildcard_enum_match_arm, reason = "any other answer fails the test")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::Instant;

use wormhole_kit::UnixTime;
use wormhole_magic::mailbox::server::NewMessage;
use wormhole_testbed::{Durability, Postgres, installed_or_skip};

use super::*;
use crate::database::notifications::NodeId;
use crate::database::postgres::DatabaseUrl;
use crate::mailbox::usage::{Removal, SideHistory};

/// Declares the cases of a file: one test for each of them on each back end.
macro_rules! cases {
    ($($case:ident,)*) => {
        mod sqlite {
            $(#[test] fn $case() { super::$case(&super::Sqlite); })*
        }

        mod postgresql {
            $(#[test] fn $case() { super::Postgresql::start().iter().for_each(|it| super::$case(it)); })*
        }
    };
}

mod batches;
mod mailboxes;
mod nameplates;
mod pruning;
mod quotas;
mod scratch;

use scratch::*;

/// A back end for the cases.
trait Backend {
    /// Opens the database with this name; creates it if needed. Each case uses different names.
    fn open(&self, name: &str, limits: StoreLimits) -> Box<dyn Store>;
    /// Removes the database.
    fn remove(&self, name: &str);
}

/// SQLite files in temporary folders.
struct Sqlite;

impl Sqlite {
    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("wormhole-store-{}-{name}", std::process::id()))
    }
}

impl Backend for Sqlite {
    fn open(&self, name: &str, limits: StoreLimits) -> Box<dyn Store> {
        let folder = Self::folder(name);
        std::fs::create_dir_all(&folder).unwrap();
        Box::new(SqliteStore::open(&folder.join("mailbox.sqlite"), limits).unwrap())
    }

    fn remove(&self, name: &str) {
        let _ = std::fs::remove_dir_all(Self::folder(name));
    }
}

/// A PostgreSQL server with a database for each name.
struct Postgresql {
    postgres: Postgres,
    databases: RefCell<HashSet<String>>,
}

impl Postgresql {
    /// Starts a new server; `None` if PostgreSQL is not installed.
    fn start() -> Option<Self> {
        let postgres = installed_or_skip(Postgres::start(Durability::Process, None))?;
        Some(Self { postgres, databases: RefCell::default() })
    }
}

impl Backend for Postgresql {
    fn open(&self, name: &str, limits: StoreLimits) -> Box<dyn Store> {
        let database = format!("case_{}", name.replace('-', "_"));
        if self.databases.borrow_mut().insert(database.clone()) {
            self.postgres.create_database(&database);
        }
        let url = DatabaseUrl::from(self.postgres.url(&database));
        Box::new(PostgresStore::open(&url, limits, NodeId::random(), true).unwrap())
    }

    fn remove(&self, _: &str) {
        // All databases are removed with the server.
    }
}
