//! A store with some people, for the cases.

use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use wormhole_chat::service::Destination;
use wormhole_chat::{DeviceId, Envelope, Timestamp};

use super::Backend;
use super::samples::{ALICE, BOB, NOW, device_id, message, new_account, new_device, some_keys};
use crate::messaging::store::{
    Account, AccountKey, Acknowledged, Acknowledgement, App, Asker, Bundle, BundleReply,
    BundleRequest, DeviceColumns, DeviceKey, Expiry, Found, IntraApp, Job, KeySet, Login,
    MessageName, Page, PageRequest, QueueDelivery, Requester, Rows, SealedSent, SealedSubmission,
    Sender, Sent, Store, StoreError, Submission, Turn, Work,
};

/// A store that is removed at the end of the case, and the time.
pub(super) struct Fixture<'a> {
    backend: &'a dyn Backend,
    name: String,
    store: Option<Box<dyn Store>>,
    /// The first device that was created.
    requester: Option<Requester>,
    pub(super) now: Timestamp,
}

/// An account with its app and its devices.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) account: Account,
    pub(super) app: App,
    pub(super) devices: Vec<(DeviceKey, DeviceId)>,
}

impl Person {
    /// The first device.
    pub(super) fn device(&self) -> DeviceKey {
        self.devices[0].0
    }

    pub(super) fn id(&self) -> Destination {
        Destination::Account(self.account.id)
    }

    pub(super) fn sender(&self, device: usize) -> Sender {
        let (device_key, device) = self.devices[device];
        Sender { account: self.account.clone(), device_key, device, app: self.app.clone() }
    }

    /// A message from the first device.
    pub(super) fn write(&self, to: &Self, timestamp: u64) -> Submission {
        let devices: Vec<u32> = to.devices.iter().map(|it| it.1.number().into()).collect();
        self.write_to(to.id(), &devices, timestamp)
    }

    /// A message from the first device to these devices.
    pub(super) fn write_to(&self, to: Destination, devices: &[u32], timestamp: u64) -> Submission {
        let messages = devices.iter().map(|device| message(*device)).collect();
        Submission {
            sender: self.sender(0),
            destination: to,
            timestamp: Timestamp(timestamp),
            messages,
            is_ephemeral: false,
            is_partial: false,
            left_out: None,
            is_urgent: true,
            accepts_answers: true,
        }
    }
}

impl<'a> Fixture<'a> {
    pub(super) fn new(backend: &'a dyn Backend, name: &str) -> Self {
        let store = Some(backend.open(name));
        Self { backend, name: name.into(), store, requester: None, now: NOW }
    }

    pub(super) fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().unwrap().as_mut()
    }

    /// Starts again on what the database contains.
    pub(super) fn reopen(&mut self) {
        self.store = None;
        self.store = Some(self.backend.open(&self.name));
    }

    /// The present version of the tables.
    pub(super) fn version(&self) -> usize {
        self.backend.steps().len()
    }

    /// Makes the database one of this earlier version, and opens it again, which upgrades it.
    pub(super) fn downgrade(&mut self, version: usize) {
        self.store = None;
        let (backend, steps) = (self.backend, self.backend.steps());
        for back in backend.steps_back()[version - 1..].iter().rev() {
            backend.execute(&self.name, back);
        }
        backend.set_version(&self.name, version);
        // The tables are really those of that version.
        let other = format!("v{version}_{}", self.name);
        steps[..version].iter().for_each(|step| drop(backend.execute(&other, step)));
        let expected = backend.execute(&other, backend.columns());
        assert_eq!(backend.execute(&self.name, backend.columns()), expected);
        backend.remove(&other);
        self.reopen();
    }

    /// Says that the database has a version that this server does not know, and returns the reason why it is refused.
    pub(super) fn refuse_version(&mut self, version: usize) -> String {
        self.store = None;
        self.backend.set_version(&self.name, version);
        self.backend.reopen(&self.name).unwrap_err().to_string()
    }

    /// Executes a turn.
    pub(super) fn apply(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        let now = self.now;
        self.store().apply(turn, now)
    }

    /// Executes requests of one kind in one turn, and returns the answers.
    fn all<Q, A>(
        &mut self,
        requests: Vec<Q>,
        list: impl Fn(&mut Turn) -> &mut Vec<Job<Q, A>>,
    ) -> Vec<A> {
        let mut turn = Turn::default();
        *list(&mut turn) = requests.into_iter().map(job).collect();
        self.apply(&mut turn).unwrap();
        list(&mut turn).drain(..).map(|job| job.answer.unwrap()).collect()
    }

    /// Reads and writes rows in a turn.
    pub(super) fn rows<T: Send + 'static>(
        &mut self,
        work: impl FnMut(&mut dyn Rows) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        let (mut turn, result) = (Turn::default(), Arc::default());
        turn.work.push(Box::new(Closure(work, Arc::clone(&result))));
        self.apply(&mut turn).unwrap();
        let value = result.lock().unwrap().take();
        value.unwrap()
    }

    pub(super) fn find(&mut self, login: Login) -> Vec<Found> {
        self.all(vec![login], |turn| &mut turn.logins).remove(0)
    }

    pub(super) fn take(&mut self, requests: Vec<BundleRequest>) -> Vec<BundleReply> {
        self.all(requests, |turn| &mut turn.bundles)
    }

    pub(super) fn bundles(&mut self, requests: Vec<BundleRequest>) -> Vec<Option<Bundle>> {
        let bundle = |taken| match taken {
            BundleReply::Bundle(bundle) => Some(bundle),
            BundleReply::NotFound | BundleReply::Unauthorized => None,
            BundleReply::Limited(_) => panic!("there is no limit"),
            BundleReply::UnknownRequester => panic!("the device that asks does not exist"),
        };
        self.take(requests).into_iter().map(bundle).collect()
    }

    /// A request of the first device that was created.
    pub(super) fn ask(&self, of: &Destination, device: Option<u32>) -> BundleRequest {
        let (requester, device) = (self.requester.unwrap(), device.map(device_id));
        BundleRequest { asker: Asker::Device(requester), destination: of.clone(), device }
    }

    /// Takes keys of one device, or of all.
    pub(super) fn bundle(&mut self, of: &Destination, device: Option<u32>) -> Option<Bundle> {
        let request = self.ask(of, device);
        self.bundles(vec![request]).remove(0)
    }

    pub(super) fn send(&mut self, submission: Submission) -> Sent {
        self.send_all(vec![submission]).remove(0)
    }

    pub(super) fn send_all(&mut self, submissions: Vec<Submission>) -> Vec<Sent> {
        self.all(submissions, |turn| &mut turn.submissions)
    }

    pub(super) fn send_sealed(&mut self, submission: SealedSubmission) -> SealedSent {
        self.all(vec![submission], |turn| &mut turn.sealed).remove(0)
    }

    pub(super) fn acknowledge(
        &mut self,
        device: DeviceKey,
        message: MessageName,
    ) -> Vec<DeviceKey> {
        let Acknowledged { receipts } = self
            .all(vec![Acknowledgement { device, message }], |turn| &mut turn.acknowledgements)
            .remove(0);
        receipts
    }

    pub(super) fn page(&mut self, request: PageRequest) -> Page {
        self.deliver(request).map(|delivery| delivery.page).unwrap_or_default()
    }

    pub(super) fn deliver(&mut self, request: PageRequest) -> Option<QueueDelivery> {
        self.all(vec![request], |turn| &mut turn.pages).remove(0)
    }

    /// Everything that waits for a device.
    pub(super) fn queue(&mut self, device: DeviceKey) -> Vec<(i64, Envelope)> {
        let page = self.page(everything(device));
        assert!(!page.has_more);
        let decode =
            |(position, envelope): (i64, Vec<u8>)| (position, Envelope::decode(&envelope).unwrap());
        page.messages.into_iter().map(decode).collect()
    }

    /// The timestamps of everything that waits for a device.
    pub(super) fn timestamps(&mut self, device: DeviceKey) -> Vec<u64> {
        self.queue(device).into_iter().map(|(_, envelope)| envelope.timestamp.0).collect()
    }

    /// Removes everything that has expired; returns the number of steps.
    pub(super) fn prune(&mut self, expiry: Expiry) -> usize {
        let (now, mut steps) = (self.now, 1);
        while self.store().prune(expiry, now).unwrap() {
            steps += 1;
        }
        steps
    }

    /// Creates an app.
    pub(super) fn app(&mut self, name: &str, intra: IntraApp) -> App {
        let name = name.parse().unwrap();
        self.rows(move |rows| {
            let key = rows.insert_app(&name, intra)?.unwrap();
            Ok(App { key, name: name.clone(), intra, tokens: Vec::new() })
        })
    }

    /// Creates an account with a device that has published keys.
    pub(super) fn person(&mut self, app: &App, number: &str) -> Person {
        let account = new_account(app, number);
        let account = self.rows(move |rows| rows.insert_account(&account));
        let mut person = Person { account, app: app.clone(), devices: Vec::new() };
        self.device(&mut person, new_device(1));
        person
    }

    /// Creates two persons in two apps.
    pub(super) fn two_people(&mut self) -> [Person; 2] {
        ["com.a", "com.b"].map(|name| {
            let app = self.app(name, IntraApp::Delivered);
            let number = if name == "com.a" { ALICE } else { BOB };
            self.person(&app, number)
        })
    }

    /// Creates a device that has published keys.
    pub(super) fn device(&mut self, person: &mut Person, device: DeviceColumns) -> DeviceKey {
        let key = self.device_without_keys(person, device);
        self.put_keys(key, some_keys());
        key
    }

    pub(super) fn device_without_keys(
        &mut self,
        person: &mut Person,
        device: DeviceColumns,
    ) -> DeviceKey {
        let (account, number): (AccountKey, _) = (person.account.key, device.number);
        let key = self.rows(move |rows| rows.insert_device(account, &device));
        person.devices.push((key, number));
        self.requester.get_or_insert(Requester { account, device: key });
        key
    }

    pub(super) fn put_keys(&mut self, device: DeviceKey, keys: KeySet) {
        self.rows(move |rows| rows.put_keys(device, &keys));
    }
}

impl Drop for Fixture<'_> {
    fn drop(&mut self) {
        self.store = None;
        self.backend.remove(&self.name);
    }
}

/// Work whose result a case reads.
pub(super) struct Closure<F, T>(pub(super) F, pub(super) Arc<Mutex<Option<T>>>);

impl<F, T> std::fmt::Debug for Closure<F, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Closure")
    }
}

impl<F, T> Work for Closure<F, T>
where
    F: FnMut(&mut dyn Rows) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn execute(&mut self, rows: &mut dyn Rows, _: Timestamp) -> Result<(), StoreError> {
        *self.1.lock().unwrap() = Some((self.0)(rows)?);
        Ok(())
    }

    fn finish(self: Box<Self>, _: Result<(), StoreError>) {}
}

/// A request without a client.
pub(super) fn job<Q, A>(request: Q) -> Job<Q, A> {
    Job { request, answer: None, reply: oneshot::channel().0 }
}

/// Asks for everything that waits for a device.
pub(super) fn everything(device: DeviceKey) -> PageRequest {
    PageRequest { device, after: 0, max_messages: u32::MAX, max_bytes: usize::MAX }
}

/// The answer to a submission that was stored for these devices, by a sender with one device.
pub(super) fn stored(devices: &[DeviceKey]) -> Sent {
    Sent::Stored { needs_sync: false, devices: devices.to_vec() }
}
