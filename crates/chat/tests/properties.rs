//! Properties of every conversation: order, duplicates and loss do not matter.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/person.rs"]
mod person;

use person::{NO_ONE_TIME, PQXDH, Person, X3DH};
use proptest::prelude::*;
use proptest::sample::Index;
use wormhole_chat::{
    Ciphertext, DecryptError, DeviceId, Envelope, EnvelopeKind, Timestamp, WebSocketMessage,
    WebSocketRequest, WebSocketResponse,
};

/// The next step in a conversation of two people.
#[derive(Clone, Debug)]
enum Step {
    /// One of them writes.
    Write { by_alice: bool },
    /// A message in transit arrives, and perhaps stays in transit to arrive again.
    Arrive { to_alice: bool, which: Index, again: bool },
    /// A message in transit is lost.
    Lose { to_alice: bool, which: Index },
    /// One of them starts a new session.
    Meet { by_alice: bool },
    /// One of them stores and loads all state.
    Restart { alice: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let flag = any::<bool>();
    prop_oneof![
        6 => flag.prop_map(|by_alice| Step::Write { by_alice }),
        8 => (flag, any::<Index>(), flag)
            .prop_map(|(to_alice, which, again)| Step::Arrive { to_alice, which, again }),
        1 => (flag, any::<Index>()).prop_map(|(to_alice, which)| Step::Lose { to_alice, which }),
        1 => flag.prop_map(|by_alice| Step::Meet { by_alice }),
        1 => flag.prop_map(|alice| Step::Restart { alice }),
    ]
}

/// A message in transit: the plaintext, the ciphertext, and whether it has arrived before.
#[derive(Clone, Debug)]
struct OnItsWay {
    text: Vec<u8>,
    sent: Ciphertext,
    arrived: bool,
}

/// Alice and Bob, each with the messages in transit to them.
struct Talk {
    people: [Person; 2],
    to: [Vec<OnItsWay>; 2],
    written: u32,
    with: person::With,
}

impl Talk {
    fn new(with: person::With) -> Self {
        let mut talk = Self {
            people: [Person::new(1), Person::new(2)],
            to: Default::default(),
            written: 0,
            with,
        };
        talk.apply(&Step::Meet { by_alice: true });
        talk.apply(&Step::Meet { by_alice: false });
        talk
    }

    fn pair(&mut self, by_alice: bool) -> (&mut Person, &mut Person) {
        let [alice, bob] = &mut self.people;
        if by_alice { (alice, bob) } else { (bob, alice) }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Write { by_alice } => {
                self.written += 1;
                let text = self.written.to_be_bytes().to_vec();
                let (writer, reader) = self.pair(*by_alice);
                let sent = writer.write(reader.address, &text);
                let queue = if *by_alice { 1 } else { 0 };
                self.to[queue].push(OnItsWay { text, sent, arrived: false });
            }
            Step::Arrive { to_alice, which, again } => self.arrive(*to_alice, which, *again),
            Step::Lose { to_alice, which } => {
                let queue = &mut self.to[usize::from(!to_alice)];
                if !queue.is_empty() {
                    queue.swap_remove(which.index(queue.len()));
                }
            }
            Step::Meet { by_alice } => {
                let with = self.with;
                let (writer, reader) = self.pair(*by_alice);
                writer.meet(reader, with);
            }
            Step::Restart { alice } => self.pair(*alice).0.restart(),
        }
    }

    fn arrive(&mut self, to_alice: bool, which: &Index, again: bool) {
        let queue = &mut self.to[usize::from(!to_alice)];
        if queue.is_empty() {
            return;
        }
        let index = which.index(queue.len());
        let message = queue[index].clone();
        if again {
            queue[index].arrived = true;
        } else {
            queue.swap_remove(index);
        }
        let (reader, writer) = self.pair(to_alice);
        let before = reader.stored(writer.address);
        let read = reader.read(writer.address, &message.sent);
        if message.arrived {
            assert_eq!(read, Err(DecryptError::Duplicate));
            assert_eq!(reader.stored(writer.address), before);
        } else {
            assert_eq!(read, Ok(message.text));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_message_is_read_once_in_any_order(
        with in prop::sample::select(vec![X3DH, PQXDH, NO_ONE_TIME]),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut talk = Talk::new(with);
        steps.iter().for_each(|step| talk.apply(step));
    }

    #[test]
    fn an_envelope_reads_as_it_was_written(
        kind in 0_u32..12,
        timestamp: u64,
        source in prop::option::of("[+a-z0-9-]{1,40}"),
        device in prop::option::of(1_u32..128),
        content in prop::option::of(prop::collection::vec(any::<u8>(), 1..50)),
        body in prop::option::of(prop::collection::vec(any::<u8>(), 1..50)),
        app in prop::option::of("[a-z.]{1,20}"),
    ) {
        let kind = EnvelopeKind::from_number(kind);
        let mut envelope = Envelope::new(kind, Timestamp(timestamp));
        envelope.source = source;
        envelope.source_device = device.and_then(DeviceId::new);
        envelope.source_account = Some(person::address(7).account);
        envelope.content = content;
        envelope.body = body;
        envelope.source_app = app;
        prop_assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
    }

    #[test]
    fn a_frame_reads_as_it_was_written(
        verb in "[A-Z]{1,16}",
        path in "/[!-~]{0,60}",
        body in prop::option::of(prop::collection::vec(any::<u8>(), 0..50)),
        id: Option<u64>,
        headers in prop::collection::vec(("[A-Za-z-]{1,20}", "[!-~]{0,20}"), 0..5),
        status in 100_u16..1000,
    ) {
        let request =
            WebSocketRequest { verb, path, body: body.clone(), id, headers: headers.clone() };
        let response = WebSocketResponse {
            id: id.unwrap_or_default(), status, message: Some("OK".to_owned()), body, headers,
        };
        for message in [WebSocketMessage::Request(request), WebSocketMessage::Response(response)] {
            prop_assert_eq!(WebSocketMessage::decode(&message.encode()), Ok(message));
        }
    }
}
