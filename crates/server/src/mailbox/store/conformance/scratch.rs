//! The store of one case, with a method for each request.

use super::*;

/// A store that is removed at the end of the case.
pub(super) struct Scratch<'a> {
    backend: &'a dyn Backend,
    name: String,
    store: Option<Box<dyn Store>>,
    removed: Vec<Usage>,
}

impl<'a> Scratch<'a> {
    pub(super) fn new(backend: &'a dyn Backend, name: &str) -> Self {
        Self::with(backend, name, StoreLimits::default())
    }

    pub(super) fn with(backend: &'a dyn Backend, name: &str, limits: StoreLimits) -> Self {
        let store = Some(backend.open(name, limits));
        Self { backend, name: name.into(), store, removed: Vec::new() }
    }

    pub(super) fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().unwrap().as_mut()
    }

    /// Opens the store again with the same database.
    pub(super) fn reopen(&mut self, limits: StoreLimits) {
        self.store = None;
        self.store = Some(self.backend.open(&self.name, limits));
    }

    /// Executes one request in a separate batch.
    pub(super) fn execute(
        &mut self,
        by: Caller<'_>,
        mut request: Request,
    ) -> Result<Outcome, StoreError> {
        let command = Command { client: by.client, address: by.address, request: &mut request };
        let applied = self.store().apply(&mut [command], &[], by.now)?;
        self.removed.extend(applied.removed);
        match applied.outcomes.into_iter().next().unwrap() {
            Outcome::Answer(Answer::Refused(refusal)) => Err(refusal.into()),
            outcome => Ok(outcome),
        }
    }

    /// Executes requests of one side in one batch.
    pub(super) fn batch(
        &mut self,
        side: &str,
        requests: Vec<Request>,
        at: f64,
    ) -> Result<(), StoreError> {
        let (identity, mut requests) = (identity(side), requests);
        let by = caller(&identity, at);
        let command = |request| Command { client: by.client, address: by.address, request };
        let mut commands: Vec<Command<'_>> = requests.iter_mut().map(command).collect();
        let mut commands = &mut commands[..];
        while !commands.is_empty() {
            let applied = self.store().apply(commands, &[], by.now)?;
            self.removed.extend(applied.removed);
            commands = &mut commands[applied.outcomes.len()..];
        }
        Ok(())
    }

    pub(super) fn claim(&mut self, side: &str, name: &str, at: f64) -> Result<String, StoreError> {
        self.claim_by(caller(&identity(side), at), name)
    }

    pub(super) fn claim_by(&mut self, by: Caller<'_>, name: &str) -> Result<String, StoreError> {
        match self.execute(by, Request::Claim(name.into()))? {
            Outcome::Answer(Answer::Claimed(mailbox)) => Ok(mailbox),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn allocate(&mut self, side: &str, at: f64) -> Result<String, StoreError> {
        self.allocate_by(caller(&identity(side), at))
    }

    pub(super) fn allocate_by(&mut self, by: Caller<'_>) -> Result<String, StoreError> {
        match self.execute(by, Request::Allocate)? {
            Outcome::Answer(Answer::Allocated(name)) => Ok(name),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn list(&mut self, app: &str) -> Result<Vec<String>, StoreError> {
        let identity = Identity::new(app.into(), "anyone".into());
        match self.execute(caller(&identity, 1.0), Request::List)? {
            Outcome::Answer(Answer::Nameplates(names)) => Ok(names),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn open(
        &mut self,
        side: &str,
        id: &str,
        at: f64,
    ) -> Result<Vec<String>, StoreError> {
        let messages = self.open_by(caller(&identity(side), at), id)?;
        Ok(messages.iter().map(|stored| stored.message.phase.clone()).collect())
    }

    pub(super) fn open_by(
        &mut self,
        by: Caller<'_>,
        id: &str,
    ) -> Result<Vec<Arc<StoredMessage>>, StoreError> {
        match self.execute(by, Request::Open(id.into()))? {
            Outcome::Opened { messages, .. } => Ok(messages),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn add(
        &mut self,
        side: &str,
        id: &str,
        phase: &str,
        at: f64,
    ) -> Result<(), StoreError> {
        let message = NewMessage::new(phase.into(), "00".into(), "null".into());
        self.add_by(caller(&identity(side), at), id, message)
    }

    pub(super) fn add_by(
        &mut self,
        by: Caller<'_>,
        id: &str,
        message: NewMessage,
    ) -> Result<(), StoreError> {
        self.execute(by, Request::Add { mailbox: id.into(), message }).map(drop)
    }

    pub(super) fn close(
        &mut self,
        side: &str,
        id: &str,
        mood: &str,
        at: f64,
    ) -> Result<(), StoreError> {
        self.close_by(caller(&identity(side), at), id, Some(mood.into()))
    }

    pub(super) fn close_by(
        &mut self,
        by: Caller<'_>,
        id: &str,
        mood: Option<String>,
    ) -> Result<(), StoreError> {
        self.execute(by, Request::Close { mailbox: id.into(), mood }).map(drop)
    }

    pub(super) fn release(&mut self, side: &str, name: &str, at: f64) {
        self.execute(caller(&identity(side), at), Request::Release(name.into())).unwrap();
    }

    pub(super) fn prune(
        &mut self,
        now: Now,
        listened: &[MailboxName],
    ) -> Result<usize, StoreError> {
        let listened: Vec<Arc<MailboxName>> = listened.iter().cloned().map(Arc::new).collect();
        self.store().keep_in_use(now, &listened)?;
        let mut mailboxes = 0;
        loop {
            let pruned = self.store().prune(now, EXPIRY)?;
            self.removed.extend(pruned.removed);
            mailboxes += pruned.mailboxes;
            if pruned.is_complete {
                return Ok(mailboxes);
            }
        }
    }

    /// The nameplates and mailboxes that were removed since the last call.
    pub(super) fn usage(&mut self) -> Vec<Usage> {
        std::mem::take(&mut self.removed)
    }

    pub(super) fn count(&mut self) -> (u64, u64) {
        let Counts { nameplates, mailboxes } = self.store().count().unwrap();
        (nameplates, mailboxes)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.store = None;
        self.backend.remove(&self.name);
    }
}

pub(super) fn identity(side: &str) -> Identity {
    Identity::new("app".into(), side.into())
}

pub(super) fn time(seconds: f64) -> UnixTime {
    UnixTime::from_secs_f64(seconds)
}

/// This number of seconds after the start on both clocks.
pub(super) fn at(seconds: f64) -> Now {
    set_clock(seconds, seconds)
}

/// A time at which the two clocks differ.
pub(super) fn set_clock(wall: f64, monotonic: f64) -> Now {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Now { wall: time(wall), monotonic: *START + Duration::from_secs_f64(monotonic) }
}

/// A side at the usual address.
pub(super) fn caller(identity: &Identity, seconds: f64) -> Caller<'_> {
    static ADDRESS: LazyLock<Arc<AddressUsage>> = LazyLock::new(Arc::default);
    Caller { client: identity, address: &ADDRESS, now: at(seconds) }
}

pub(super) const EXPIRY: Duration = Duration::from_secs(660);

pub(super) const CROWDED: StoreError = StoreError::Refused(Refusal::Crowded);

pub(super) fn history(added: &[f64], moods: &[&str], crowded: bool) -> SideHistory {
    let moods = moods.iter().map(|mood| (*mood).into()).collect();
    SideHistory { added: added.into(), moods, crowded }
}

/// A store with quotas for stored bytes.
pub(super) fn with_quota<'a>(
    backend: &'a dyn Backend,
    name: &str,
    per_address: u64,
    database: u64,
) -> Scratch<'a> {
    Scratch::with(
        backend,
        name,
        StoreLimits { quota: Quota { per_address, database }, ..StoreLimits::default() },
    )
}

/// Adds a message of 10,000 bytes from an address.
pub(super) fn fill(
    scratch: &mut Scratch<'_>,
    address: &Arc<AddressUsage>,
    id: &str,
) -> Result<(), StoreError> {
    let identity = identity(id);
    let by = Caller { address, ..caller(&identity, 1.0) };
    scratch.open_by(by, id)?;
    let message = NewMessage::new("0".into(), "a".repeat(10_000), "null".into());
    scratch.add_by(by, id, message).map(drop)
}

/// Adds messages until one is refused.
pub(super) fn fill_up(
    scratch: &mut Scratch<'_>,
    address: &Arc<AddressUsage>,
    id: &str,
) -> (usize, StoreError) {
    let refused = (0..1000).find_map(|n| Some((n, fill(scratch, address, id).err()?)));
    refused.expect("never refused")
}
