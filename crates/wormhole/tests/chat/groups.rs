//! Groups of people in different apps, through the real service.

use wormhole::chat::group::{ChangeError, GroupChange, GroupId, Role};
use wormhole::chat::{
    AccountId, Client, Event, GroupError, GroupEvent, GroupInfo, Membership, Message, Messages,
    Options, QueueError, ReceiptKind,
};

use crate::mailbox::Mailbox;
use crate::world::{World, next_event, next_message, say, soon};

/// Waits until an event of a group fulfils a condition.
async fn group_event(events: &mut Messages, wanted: fn(&GroupEvent) -> bool) {
    let is_wanted = |event: &Event| matches!(event, Event::Group { event, .. } if wanted(event));
    next_event(events, is_wanted).await;
}

/// Creates a group with one member.
async fn create(client: &Client) -> GroupId {
    let mut created = client.create_group("Walks").await.unwrap();
    soon(created.on_server()).await.unwrap();
    created.group()
}

/// Waits until a device knows a group with these members.
async fn wait_for_members(client: &Client, group: GroupId, members: &[AccountId]) {
    let mut events = client.messages();
    loop {
        let groups = client.groups().await.unwrap();
        let state = groups.iter().find(|info| info.id == group).and_then(|it| it.state.as_ref());
        let is_known = state.is_some_and(|state| {
            state.members.len() == members.len()
                && members.iter().all(|member| state.members.contains_key(member))
        });
        if is_known {
            return;
        }
        group_event(&mut events, |event| matches!(event, GroupEvent::Changed(..))).await;
    }
}

#[tokio::test]
async fn members_in_two_apps_write_to_all_and_a_removed_one_reads_nothing_more() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550901", "+14155550902"]).await;
    let carol = world.register("+14155550903", 0).await;
    let (a, b, c) = (alice.open().await, bob.open().await, carol.open().await);
    let ids = [&a, &b, &c].map(|client| client.me().address.account);
    let [for_alice, for_bob, for_carol] = ids;
    let (mut to_a, mut to_c) = (a.messages(), c.messages());
    // They know Alice: so they accept her invitation.
    for client in [&b, &c] {
        say(client, &alice.destination(), "hello").await;
        next_message(&mut to_a).await;
    }
    let group = create(&a).await;
    a.group(group).invite([for_bob, for_carol]).await.unwrap();
    for client in [&a, &b, &c] {
        soon(wait_for_members(client, group, &[for_alice, for_bob, for_carol])).await;
    }
    let state = b.groups().await.unwrap().remove(0).state.unwrap();
    assert_eq!(state.title, "Walks");
    assert_eq!(state.members[&for_alice].role, Role::Admin);

    b.send(group, Message::text("at three?")).await.unwrap();
    for messages in [&mut to_a, &mut to_c] {
        let message = soon(next_message(messages)).await;
        assert_eq!((message.text.as_deref(), message.group), (Some("at three?"), Some(group)));
        assert_eq!(message.from.account, for_bob);
    }

    a.group(group).remove(for_carol).await.unwrap();
    soon(wait_for_members(&b, group, &[for_alice, for_bob])).await;
    group_event(&mut to_c, |event| matches!(event, GroupEvent::Removed)).await;
    assert_eq!(c.groups().await.unwrap().remove(0).membership, Membership::Outside);
    let refused = c.send(group, Message::text("still here")).await.map(drop);
    assert_eq!(refused, Err(QueueError::NotMember(group)));
    b.send(group, Message::text("without Carol")).await.unwrap();
    let message = soon(next_message(&mut to_a)).await;
    assert_eq!(message.text.as_deref(), Some("without Carol"));
    // What is for Carol alone arrives after it, and is the next message that she gets.
    say(&b, &carol.destination(), "only for you").await;
    let message = soon(next_message(&mut to_c)).await;
    assert_eq!((message.text.as_deref(), message.group), (Some("only for you"), None));
}

#[tokio::test]
async fn a_linked_device_reads_and_writes_in_the_groups_of_its_account() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550911", "+14155550912"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let members = [&a, &b].map(|client| client.me().address.account);
    let mut to_a = a.messages();
    say(&b, &alice.destination(), "hello").await;
    next_message(&mut to_a).await;
    let group = create(&a).await;
    a.group(group).invite([members[1]]).await.unwrap();
    soon(wait_for_members(&b, group, &members)).await;
    a.close().await.unwrap();
    let laptop = mailbox.link(&alice, "laptop").await;
    let (a, l) = (alice.open().await, laptop.open().await);
    let is_in = |info: &GroupInfo| info.membership == Membership::Member;
    soon(async { while !l.groups().await.unwrap().iter().any(is_in) {} }).await;
    let mut to_l = l.messages();
    b.send(group, Message::text("at three?")).await.unwrap();
    loop {
        let message = soon(next_message(&mut to_l)).await;
        if message.text.as_deref() == Some("at three?") {
            assert_eq!((message.group, message.from.account), (Some(group), members[1]));
            break;
        }
        l.done(message.id).await.unwrap();
    }
    let mut to_b = b.messages();
    l.send(group, Message::text("at four")).await.unwrap();
    let message = soon(next_message(&mut to_b)).await;
    assert_eq!((message.text.as_deref(), message.group), (Some("at four"), Some(group)));
    assert_eq!(message.device, l.me().address.device);
    a.close().await.unwrap();
}

#[tokio::test]
async fn attack_18_a_link_lets_an_account_in_once_and_is_useless_after_a_removal() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550921", "+14155550922"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let [for_alice, for_bob] = [&a, &b].map(|client| client.me().address.account);
    let group = create(&a).await;
    soon(a.group(group).enable_link().await.unwrap().on_server()).await.unwrap();
    let link = a.group(group).invite_link().await.unwrap().unwrap();
    // Nothing to do.
    soon(a.group(group).enable_link().await.unwrap().on_server()).await.unwrap();
    assert_eq!(a.group(group).invite_link().await.unwrap().unwrap().password, link.password);
    soon(b.join_group(link.clone()).await.unwrap().on_server()).await.unwrap();
    soon(wait_for_members(&b, group, &[for_alice, for_bob])).await;
    // Bob leaves with the key that Alice has sent, and the link does not let him in again.
    let mut to_a = a.messages();
    soon(b.group(group).leave(None).await.unwrap().on_server()).await.unwrap();
    let is_epoch =
        |event: &GroupEvent| matches!(event, GroupEvent::Changed(_, GroupChange::NewEpoch { .. }));
    group_event(&mut to_a, is_epoch).await;
    let joined = soon(b.join_group(link).await.unwrap().on_server()).await;
    assert!(
        matches!(joined, Err(GroupError::NotMember | GroupError::NotPermitted(_))),
        "{joined:?}"
    );
    soon(wait_for_members(&a, group, &[for_alice])).await;
}

#[tokio::test]
async fn an_application_learns_what_becomes_of_each_change() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550931", "+14155550932"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let for_bob = b.me().address.account;
    let not_permitted = |why| Err(GroupError::NotPermitted(why));
    let long = a.create_group(&"x".repeat(129)).await.map(drop);
    assert_eq!(long, not_permitted(ChangeError::BadTitle));
    let group = a.group(create(&a).await);
    let unknown = b.group(group.id());
    assert_eq!(unknown.info().await, Ok(None));
    assert_eq!(unknown.leave(None).await.map(drop), Err(GroupError::NotFound));
    // Equal changes, and one that is not possible, one after the other.
    let mut titles = Vec::new();
    for title in ["Hikes", "Hikes", "", "Talks"] {
        titles.push(group.set_title(title).await.unwrap());
    }
    let mut outcomes = Vec::new();
    for mut title in titles {
        outcomes.push(soon(title.on_server()).await);
        assert_eq!(Some(&soon(title.on_server()).await), outcomes.last());
    }
    assert_eq!(outcomes, [Ok(()), Ok(()), not_permitted(ChangeError::BadTitle), Ok(())]);
    assert_eq!(group.info().await.unwrap().unwrap().state.unwrap().title, "Talks");
    let role = soon(group.set_role(for_bob, Role::Admin).await.unwrap().on_server()).await;
    assert_eq!(role, not_permitted(ChangeError::NotMember));
    let mut waits = group.set_description(Some("on Sundays")).await.unwrap();
    a.close().await.unwrap();
    // It was made, or will be when the client is opened again.
    assert!(matches!(soon(waits.on_server()).await, Ok(()) | Err(GroupError::Ended(_))));
}

/// Carol joins a group while Bob, who does not know her and is asked about strangers, is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_new_member_writes_to_somebody_who_is_away_is_not_lost() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550914", "+14155550915"]).await;
    let carol = world.register("+14155550916", 0).await;
    let asked = || {
        let mut options = Options::default();
        options.hold_unknown_senders = true;
        options
    };
    let (a, c) = (alice.open().await, carol.open().await);
    let b = Client::open(bob.account(), asked()).await.unwrap();
    let ids = [&a, &b, &c].map(|client| client.me().address.account);
    let mut to_a = a.messages();
    for client in [&b, &c] {
        say(client, &alice.destination(), "hello").await;
        next_message(&mut to_a).await;
    }
    let group = create(&a).await;
    a.group(group).invite([ids[1]]).await.unwrap();
    soon(wait_for_members(&a, group, &ids[..2])).await;
    soon(wait_for_members(&b, group, &ids[..2])).await;
    b.close().await.unwrap();
    a.group(group).invite([ids[2]]).await.unwrap();
    soon(wait_for_members(&c, group, &ids)).await;
    let mut sent = c.messages();
    // More than a stranger may send.
    let mut texts: Vec<String> = (0..8).map(|number| number.to_string()).collect();
    for text in &texts {
        c.send(group, Message::text(text)).await.unwrap();
    }
    group_event(&mut sent, |event| matches!(event, GroupEvent::PartlySent(_))).await;
    let b = Client::open(bob.account(), asked()).await.unwrap();
    let mut to_b = b.messages();
    // What has waited comes later.
    while !texts.is_empty() {
        let message = soon(next_message(&mut to_b)).await;
        texts.retain(|text| Some(text) != message.text.as_ref());
    }
}

/// Alice has a group with Bob and Carol, who do not know each other. Bob is asked about strangers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_who_do_not_know_each_other_lose_no_message_as_strangers() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550911", "+14155550912"]).await;
    let carol = world.register("+14155550913", 0).await;
    let mut asked = Options::default();
    asked.hold_unknown_senders = true;
    let (a, c) = (alice.open().await, carol.open().await);
    let b = Client::open(bob.account(), asked).await.unwrap();
    let ids = [&a, &b, &c].map(|client| client.me().address.account);
    let (mut to_a, mut to_b) = (a.messages(), b.messages());
    for client in [&b, &c] {
        say(client, &alice.destination(), "hello").await;
        next_message(&mut to_a).await;
    }
    let group = create(&a).await;
    a.group(group).invite([ids[1], ids[2]]).await.unwrap();
    for client in [&a, &b, &c] {
        soon(wait_for_members(client, group, &ids)).await;
    }
    // A stranger may send five.
    let texts: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    for text in &texts {
        c.send(group, Message::text(text)).await.unwrap();
    }
    for text in &texts {
        let message = soon(next_message(&mut to_b)).await;
        assert_eq!((message.text.as_ref(), message.group), (Some(text), Some(group)));
    }
}

/// Bob and Carol share a group, but have never written to each other before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_is_shown_in_a_group_and_nobody_learns_what_is_read_outside_of_it() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550941", "+14155550942"]).await;
    let carol = world.register("+14155550943", 0).await;
    let (a, b, c) = (alice.open().await, bob.open().await, carol.open().await);
    let ids = [&a, &b, &c].map(|client| client.me().address.account);
    let (mut to_a, mut to_b, mut to_c) = (a.messages(), b.messages(), c.messages());
    for client in [&b, &c] {
        say(client, &alice.destination(), "hello").await;
        next_message(&mut to_a).await;
    }
    let group = create(&a).await;
    a.group(group).invite([ids[1], ids[2]]).await.unwrap();
    for client in [&a, &b, &c] {
        soon(wait_for_members(client, group, &ids)).await;
    }
    say(&c, &bob.destination(), "who are you?").await;
    let alone = soon(next_message(&mut to_b)).await;
    c.send(group, Message::text("to all")).await.unwrap();
    let to_all = soon(next_message(&mut to_b)).await;
    assert_eq!((alone.group, to_all.group), (None, Some(group)));
    b.mark_read(ids[2], vec![alone.reference()]).await.unwrap();
    b.mark_read(group, vec![to_all.reference()]).await.unwrap();
    let is_read = |event: &Event| matches!(event, Event::Receipt { kind: ReceiptKind::Read, .. });
    let messages = vec![to_all.timestamp];
    let receipt = Event::Receipt { from: ids[1], kind: ReceiptKind::Read, messages };
    assert_eq!(next_event(&mut to_c, is_read).await, receipt);
    // A member who has written to the group can show that another message is on its way.
    b.send(group, Message::text("hello")).await.unwrap();
    soon(next_message(&mut to_c)).await;
    for started in [true, false] {
        b.typing(group, started).await.unwrap();
        for events in [&mut to_a, &mut to_c] {
            let event = next_event(events, |it| matches!(it, Event::Typing { .. })).await;
            assert_eq!(event, Event::Typing { from: ids[1], group: Some(group), started });
        }
    }
    assert_eq!(b.outbox().await.unwrap(), []);
}
