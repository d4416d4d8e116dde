//! Groups of people in different apps, through the real service.

use wormhole::chat::group::{GroupChange, GroupId, Role};
use wormhole::chat::{AccountId, Client, Event, GroupEvent, Membership, Messages, Options};

use crate::world::{World, next_event, next_message, say, soon};

/// Waits until an event of a group fulfils a condition.
async fn group_event(events: &mut Messages, wanted: fn(&GroupEvent) -> bool) {
    let is_wanted = |event: &Event| matches!(event, Event::Group { event, .. } if wanted(event));
    next_event(events, is_wanted).await;
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
    let alice = world.register("+14155550901", 0).await;
    let bob = world.register("+14155550902", 1).await;
    let carol = world.register("+14155550903", 0).await;
    let (a, b, c) = (alice.open().await, bob.open().await, carol.open().await);
    let ids = [&a, &b, &c].map(|client| client.me().address.account);
    let [for_alice, for_bob, for_carol] = ids;
    let (mut to_a, mut to_c) = (a.messages(), c.messages());
    // They know Alice: so they accept her invitation.
    for (client, messages) in [(&b, &mut to_a), (&c, &mut a.messages())] {
        say(client, &alice.destination(), "hello").await;
        next_message(messages).await;
    }
    let group = a.create_group("Walks").await.unwrap().unwrap();
    group_event(&mut to_a, |event| matches!(event, GroupEvent::Changed(..))).await;
    let invite = GroupChange::Invite([(for_bob, None), (for_carol, None)].into());
    a.change_group(group, invite).await.unwrap().unwrap();
    for client in [&a, &b, &c] {
        soon(wait_for_members(client, group, &[for_alice, for_bob, for_carol])).await;
    }
    let state = b.groups().await.unwrap().remove(0).state.unwrap();
    assert_eq!(state.title, "Walks");
    assert_eq!(state.members[&for_alice].role, Role::Admin);

    b.send_to_group(group, "at three?").await.unwrap().unwrap();
    for messages in [&mut to_a, &mut to_c] {
        let message = soon(next_message(messages)).await;
        assert_eq!((message.text.as_deref(), message.group), (Some("at three?"), Some(group)));
        assert_eq!(message.from.account, for_bob);
    }

    let password = None;
    a.change_group(group, GroupChange::Remove { account: for_carol, password })
        .await
        .unwrap()
        .unwrap();
    soon(wait_for_members(&b, group, &[for_alice, for_bob])).await;
    group_event(&mut to_c, |event| matches!(event, GroupEvent::Removed)).await;
    assert_eq!(c.groups().await.unwrap().remove(0).membership, Membership::Outside);
    assert!(c.send_to_group(group, "still here").await.unwrap().is_err());
    b.send_to_group(group, "without Carol").await.unwrap().unwrap();
    let message = soon(next_message(&mut to_a)).await;
    assert_eq!(message.text.as_deref(), Some("without Carol"));
    // What is for Carol alone arrives after it, and is the next message that she gets.
    say(&b, &carol.destination(), "only for you").await;
    let message = soon(next_message(&mut to_c)).await;
    assert_eq!((message.text.as_deref(), message.group), (Some("only for you"), None));
}

/// Alice has a group with Bob and Carol, who do not know each other. Bob is asked about strangers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_who_do_not_know_each_other_lose_no_message_as_strangers() {
    let world = World::new().await;
    let alice = world.register("+14155550911", 0).await;
    let bob = world.register("+14155550912", 1).await;
    let carol = world.register("+14155550913", 0).await;
    let mut asked = Options::default();
    asked.requests = true;
    let (a, c) = (alice.open().await, carol.open().await);
    let b = Client::open(bob.account(), asked).await.unwrap();
    let ids = [&a, &b, &c].map(|client| client.me().address.account);
    let (mut to_a, mut to_b) = (a.messages(), b.messages());
    for client in [&b, &c] {
        say(client, &alice.destination(), "hello").await;
        next_message(&mut to_a).await;
    }
    let group = a.create_group("Walks").await.unwrap().unwrap();
    group_event(&mut to_a, |event| matches!(event, GroupEvent::Changed(..))).await;
    let invite = GroupChange::Invite([(ids[1], None), (ids[2], None)].into());
    a.change_group(group, invite).await.unwrap().unwrap();
    for client in [&a, &b, &c] {
        soon(wait_for_members(client, group, &ids)).await;
    }
    // A stranger may send five.
    let texts: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    for text in &texts {
        c.send_to_group(group, text).await.unwrap().unwrap();
    }
    for text in &texts {
        let message = soon(next_message(&mut to_b)).await;
        assert_eq!((message.text.as_ref(), message.group), (Some(text), Some(group)));
    }
}
