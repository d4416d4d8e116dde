//! Attachments, uploaded and downloaded through signed addresses.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Failure;
use crate::accounts::{self, Account};
use crate::http::Http;
use crate::server::Server;
use crate::usage::{Usage, rounded};

pub(crate) async fn run(
    server: &Server,
    mib: usize,
    count: usize,
    parallel: usize,
) -> Result<Value, Failure> {
    let accounts = accounts::register(server, parallel, false).await?;
    let content = vec![7; mib << 20];
    let share = count.div_ceil(parallel);
    let before = Usage::of(server.id());
    let start = Instant::now();
    let uploads = accounts.iter().map(|account| upload(server, account, &content, share));
    let ids = futures_util::future::try_join_all(uploads).await?;
    let up = start.elapsed().as_secs_f64();
    let between = Usage::of(server.id());
    let start = Instant::now();
    let downloads = accounts
        .iter()
        .zip(&ids)
        .map(|(account, ids)| download(server, account, ids, content.len()));
    futures_util::future::try_join_all(downloads).await?;
    let down = start.elapsed().as_secs_f64();
    let after = Usage::of(server.id());
    let total = (mib * share * parallel) as f64;
    Ok(json!({
        "mib": total,
        "up_mib_per_s": rounded(total / up),
        "down_mib_per_s": rounded(total / down),
        "up_server_cpu_s_per_gib": rounded(1024.0 * (between.cpu - before.cpu) / total),
        "down_server_cpu_s_per_gib": rounded(1024.0 * (after.cpu - between.cpu) / total),
    }))
}

async fn upload(
    server: &Server,
    account: &Account,
    content: &[u8],
    count: usize,
) -> Result<Vec<String>, Failure> {
    let mut http = Http::connect(&server.authority).await?;
    let mut ids = Vec::new();
    for _ in 0..count {
        let allocated = http.ask("GET", "/v1/attachments/", &account.headers, &[]).await?;
        let id = allocated.get("idString").and_then(Value::as_str).ok_or("no id")?;
        let path = path(&allocated, &server.authority)?;
        http.ask("PUT", &path, "Content-Type: application/octet-stream\r\n", content).await?;
        ids.push(id.to_owned());
    }
    Ok(ids)
}

async fn download(
    server: &Server,
    account: &Account,
    ids: &[String],
    length: usize,
) -> Result<(), Failure> {
    let mut http = Http::connect(&server.authority).await?;
    for id in ids {
        let found =
            http.ask("GET", &format!("/v1/attachments/{id}"), &account.headers, &[]).await?;
        if http.download(&path(&found, &server.authority)?).await? != length {
            return Err("an attachment is incomplete".into());
        }
    }
    Ok(())
}

/// The path of a signed address.
fn path(answer: &Value, authority: &Arc<str>) -> Result<String, Failure> {
    let location = answer.get("location").and_then(Value::as_str).ok_or("no location")?;
    let path = location.strip_prefix(&format!("http://{authority}"));
    Ok(path.ok_or("a location on another server")?.to_owned())
}
