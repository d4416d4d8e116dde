//! Tests of the usage records.

use rusqlite::Connection;
use wormhole_magic::relay::{Mood, Usage};

use super::*;

/// One row of the `usage` table.
type Row = (f64, f64, Option<f64>, u64, String);

fn rows(path: &Path) -> Vec<Row> {
    let db = Connection::open(path).unwrap();
    let mut rows = db
        .prepare(
            "SELECT CAST(started AS REAL), CAST(total_time AS REAL), CAST(waiting_time AS REAL), \
             total_bytes, result FROM usage ORDER BY result",
        )
        .unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
    };
    rows.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// Opens a pair that exchanges 14 bytes, and a link with a bad handshake.
async fn use_relay(world: &World) {
    let (mut one, mut two) = world.pair().await;
    one.write_all(b"there").await.unwrap();
    assert_eq!(receive(&mut two, 5).await, b"there");
    two.write_all(b"and back.").await.unwrap();
    assert_eq!(receive(&mut one, 9).await, b"and back.");
    drop((one, two));
    receive_to_end(&mut world.connect_and_send("hello\n").await).await;
    world.until(|world| world.ended("happy") == 1 && world.ended("errory") == 1).await;
}

#[tokio::test]
async fn a_pair_and_a_failed_link_are_one_row_each() {
    let directory = Directory::new("rows");
    let path = directory.0.join("usage.sqlite");
    let config = Config { usage_db: Some(path.clone()), ..config() };
    let world = World::with(&config, Timeouts::default(), |_| {});
    use_relay(&world).await;
    world.stop().await;
    let rows = rows(&path);
    assert_eq!(rows.len(), 2, "{rows:?}");
    let (errory, happy) = (&rows[0], &rows[1]);
    assert_eq!((errory.2, errory.3, errory.4.as_str()), (None, 0, "errory"));
    assert_eq!((happy.3, happy.4.as_str()), (14, "happy"));
    assert!(happy.0 > 1.6e9 && happy.2.unwrap() <= happy.1, "{happy:?}");
}

#[tokio::test]
async fn the_current_row_has_the_last_state() {
    let directory = Directory::new("current");
    let path = directory.0.join("usage.sqlite");
    let config = Config { usage_db: Some(path.clone()), ..config() };
    for _restart in 0..2 {
        let world = World::with(&config, Timeouts::default(), |_| {});
        use_relay(&world).await;
        world.stop().await;
    }
    let db = Connection::open(&path).unwrap();
    let current = "SELECT count(*), max(connected), max(waiting), max(incomplete_bytes), \
                   max(updated) >= max(rebooted) FROM current";
    let row: (u64, u64, u64, u64, bool) = db
        .query_row(current, [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .unwrap();
    assert_eq!(row, (1, 0, 0, 0, true));
    assert_eq!(rows(&path).len(), 4);
}

#[tokio::test]
async fn blurred_records_have_round_times_and_sizes() {
    let directory = Directory::new("blurred");
    let path = directory.0.join("usage.sqlite");
    let config = Config { usage_db: Some(path.clone()), blur_usage: 3600, ..config() };
    let world = World::with(&config, Timeouts::default(), |_| {});
    use_relay(&world).await;
    world.stop().await;
    for row in rows(&path) {
        assert!(row.0 % 3600.0 == 0.0, "{row:?}");
        assert!(row.3 == 0 || row.3 == 10_000, "{row:?}");
    }
}

#[tokio::test]
async fn the_log_has_one_json_object_per_line() {
    let directory = Directory::new("log");
    let path = directory.0.join("usage.jsonl");
    let config = Config { usage_log: Some(path.clone()), ..config() };
    let world = World::with(&config, Timeouts::default(), |_| {});
    use_relay(&world).await;
    world.stop().await;
    let text = std::fs::read_to_string(&path).unwrap();
    let mut moods: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|row| (row["mood"].clone(), row["total_bytes"].clone(), row["waiting_time"].is_null()))
        .collect();
    moods.sort_by_key(|row| row.0.to_string());
    assert_eq!(moods, [("errory".into(), 0.into(), true), ("happy".into(), 14.into(), false)]);
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_rejected_at_startup() {
    let directory = Directory::new("garbage");
    let path = directory.0.join("usage.sqlite");
    std::fs::write(&path, "this is not a database, but long enough to be taken for one".repeat(99))
        .unwrap();
    let config = Config { usage_db: Some(path), ..config() };
    let host = testing::host(None);
    let refused = Service::start(&config, Timeouts::default(), host);
    assert!(matches!(refused, Err(ServerError::Database { .. })));
}

#[tokio::test]
async fn the_oldest_records_of_files_that_are_too_large_are_removed() {
    let directory = Directory::new("limit");
    let (db, lines) = (directory.0.join("usage.sqlite"), directory.0.join("usage.jsonl"));
    let limit = 100_000;
    let log = UsageLog::open(Some(&db), Some(&lines), Duration::ZERO, limit).unwrap();
    // Fewer records than the queue can contain.
    for bytes in 0..4000 {
        let usage = Usage { total: Duration::ZERO, waiting: None, bytes, mood: Mood::Happy };
        log.recorder().record(usage);
    }
    log.close().await;
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    let old = directory.0.join("usage.jsonl.old");
    assert!(size(&lines) + size(&old) <= limit);
    let text = std::fs::read_to_string(&lines).unwrap();
    assert!(text.lines().last().unwrap().contains("\"total_bytes\":3999"), "{text}");
    let database = Connection::open(&db).unwrap();
    let sql = "SELECT count(*), max(total_bytes) FROM usage";
    let (count, last): (u64, u64) =
        database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert!(count > 500 && count < 2500, "{count}");
    assert_eq!(last, 3999);
}
