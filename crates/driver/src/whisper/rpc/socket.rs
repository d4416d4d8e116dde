//! A Unix socket, as go-ethereum's `geth.ipc`: JSON values one after the other, without HTTP.
//!
//! There is no gate: whoever may open the file may come in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonrpsee_server::ResponsePayload;
use jsonrpsee_server::middleware::rpc::{
    Batch, BatchEntry, BatchEntryErr, MethodResponse, Notification, Request, RpcServiceT,
};
use jsonrpsee_server::types::error::{ErrorCode, ErrorObject};
use jsonrpsee_server::types::{Id, InvalidRequest};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::desk::Subscription;
use super::frames::Frames;
use super::http::{ACCEPT_PAUSE, MAX_BATCH};
use super::methods::{MAX_RESPONSE, Methods, Stays};
use super::subscribe::{self, EVENT, SUBSCRIBE};
use super::{Service, reply};

impl Service {
    /// Serves a Unix socket until told to stop. Links are cut then.
    pub async fn serve_unix(&self, listener: UnixListener, stop: impl Future<Output = ()> + Send) {
        let mut links = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => return,
                _ = links.join_next(), if !links.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) if links.len() < self.settings.max_links => {
                    links.spawn(attend(stream, self.clone()));
                }
                // It is full: whoever comes is gone before anything is read.
                Ok(_) => {}
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

/// Lives with a link until either end closes it. Calls and subscriptions end with it.
async fn attend(stream: UnixStream, service: Service) {
    let limit = usize::try_from(service.settings.max_request_bytes).unwrap_or(usize::MAX);
    let (mut reading, writing) = stream.into_split();
    let (out, queue) = mpsc::channel(MAX_WAITING);
    let subscriptions =
        Subscriptions { service: service.clone(), out: out.clone(), open: Arc::default() };
    let methods = Methods { subscriptions, service };
    let turns = Arc::new(Semaphore::new(MAX_CALLS));
    let (mut frames, mut chunk) = (Frames::new(limit), vec![0; CHUNK]);
    let mut tasks = JoinSet::new();
    tasks.spawn(write(writing, queue));
    loop {
        let read = tokio::select! {
            () = out.closed() => return,
            read = reading.read(&mut chunk) => read,
        };
        let Some(bytes) = read.ok().and_then(|count| chunk.get(..count)) else { return };
        if bytes.is_empty() {
            return;
        }
        let Ok(requests) = frames.push(bytes) else { return };
        for request in requests {
            while tasks.try_join_next().is_some() {}
            // Not a byte more is read until there is room. It is never closed.
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
            let (methods, out) = (methods.clone(), out.clone());
            tasks.spawn(async move {
                let response = respond(&methods, &request).await;
                if !response.is_notification() {
                    // Whoever has gone does not want it.
                    let _gone = out.send(response.into_json()).await;
                }
                drop(turn);
            });
        }
    }
}

/// Answers one request, or one batch of them.
async fn respond(methods: &Methods<Subscriptions>, text: &[u8]) -> MethodResponse {
    if text.first() != Some(&b'[') {
        return match entry(text) {
            Ok(BatchEntry::Call(request)) => methods.call(request).await,
            Ok(BatchEntry::Notification(notification)) => methods.notification(notification).await,
            Err(error) => refusal(error),
        };
    }
    let fault = |code: ErrorCode| MethodResponse::error(Id::Null, ErrorObject::from(code));
    let Ok(texts) = serde_json::from_slice::<Vec<&RawValue>>(text) else {
        return fault(ErrorCode::ParseError);
    };
    if u32::try_from(texts.len()).is_ok_and(|length| length <= MAX_BATCH) {
        let entries = texts.iter().map(|text| entry(text.get().as_bytes()));
        return methods.batch(Batch::from(entries.collect())).await;
    }
    fault(ErrorCode::InvalidRequest)
}

fn entry(text: &[u8]) -> Result<BatchEntry<'_>, BatchEntryErr<'_>> {
    if let Ok(mut request) = serde_json::from_slice::<Request<'_>>(text) {
        request.extensions_mut().insert(Stays);
        return Ok(BatchEntry::Call(request));
    }
    if let Ok(notification) = serde_json::from_slice::<Notification<'_>>(text) {
        return Ok(BatchEntry::Notification(notification));
    }
    let (id, code) = match serde_json::from_slice::<InvalidRequest<'_>>(text) {
        Ok(request) => (request.id, ErrorCode::InvalidRequest),
        Err(error) if error.is_syntax() => (Id::Null, ErrorCode::ParseError),
        Err(_) => (Id::Null, ErrorCode::InvalidRequest),
    };
    Err(BatchEntryErr::new(id, code.into()))
}

fn refusal(error: BatchEntryErr<'_>) -> MethodResponse {
    let (error, id) = error.into_parts();
    MethodResponse::error(id, error)
}

/// Writes what there is to say, a line each.
async fn write(mut writing: OwnedWriteHalf, mut queue: mpsc::Receiver<Box<RawValue>>) {
    while let Some(json) = queue.recv().await {
        let line = format!("{}\n", json.get());
        if writing.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The subscriptions of one link.
#[derive(Clone, Debug)]
struct Subscriptions {
    service: Service,
    out: mpsc::Sender<Box<RawValue>>,
    /// Each ends when its sender is dropped.
    open: Arc<Mutex<BTreeMap<String, oneshot::Sender<()>>>>,
}

impl Subscriptions {
    async fn begin(self, request: Request<'_>) -> MethodResponse {
        let params = request.params.as_ref().map(|params| params.get());
        let subscription = match subscribe::begin(&self.service, params).await {
            Ok(subscription) => subscription,
            Err(error) => return MethodResponse::error(request.id, error),
        };
        let (id, (alive, over)) = (subscribe::new_id(), oneshot::channel());
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), alive);
        let payload = ResponsePayload::success(&id);
        let response = MethodResponse::response(request.id, payload, MAX_RESPONSE);
        // The name first, then what comes under it.
        let _gone = self.out.send(response.into_json()).await;
        tokio::spawn(carry(id, subscription, self.out, over));
        MethodResponse::notification()
    }

    fn end(&self, request: Request<'_>) -> MethodResponse {
        let id = request.params.as_ref().and_then(|params| {
            let [id]: [String; 1] = serde_json::from_str(params.get()).ok()?;
            Some(id)
        });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = id.is_some_and(|id| open.remove(&id).is_some());
        MethodResponse::response(request.id, ResponsePayload::success(ended), MAX_RESPONSE)
    }
}

/// Hands messages on until nobody wants them any more.
async fn carry(
    id: String,
    mut subscription: Subscription,
    out: mpsc::Sender<Box<RawValue>>,
    mut over: oneshot::Receiver<()>,
) {
    loop {
        let messages = tokio::select! {
            _ = &mut over => return,
            messages = subscription.next() => messages,
        };
        let Some(messages) = messages else { return };
        for message in messages {
            let params = json!({ "subscription": id, "result": reply::message(&message) });
            let event = json!({ "jsonrpc": "2.0", "method": EVENT, "params": params });
            let Ok(event) = to_raw_value(&event) else { return };
            if out.send(event).await.is_err() {
                return;
            }
        }
    }
}

impl RpcServiceT for Subscriptions {
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let this = self.clone();
        async move {
            if request.method == SUBSCRIBE { this.begin(request).await } else { this.end(request) }
        }
    }

    /// Those of a batch come one by one.
    fn batch<'a>(&self, _batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        std::future::ready(MethodResponse::notification())
    }

    fn notification<'a>(
        &self,
        _notification: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        std::future::ready(MethodResponse::notification())
    }
}

/// Calls of one link that may be under way.
const MAX_CALLS: usize = 64;

/// Answers and messages that may wait to be written.
const MAX_WAITING: usize = 16;

/// Bytes to read at a time.
const CHUNK: usize = 16 * 1024;
