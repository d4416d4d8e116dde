//! Losses, crashes and full queues at any moment.

use super::*;

#[test]
fn groups_survive_losses_and_crashes_at_any_moment() {
    (0..24).for_each(|seed| survive(seed, false));
}

#[test]
fn groups_survive_full_queues_with_losses_and_crashes_at_any_moment() {
    (100..130).for_each(|seed| survive(seed, true));
}

/// People write to a group and change it, while messages are lost, devices crash, and perhaps the server has no room for some.
fn survive(seed: u64, with_full_queues: bool) {
    let mut world = World::new(seed);
    world.people(4);
    let group = world.group();
    let account = world.account(1);
    world.change(0, group, GroupChange::SetRole { account, role: Role::Admin });
    world.settle();
    world.stir();
    let mut said = Vec::new();
    for number in 0..6 {
        let which = world.index(3);
        if world.membership(which, group) == Some(Membership::Member) {
            let body = format!("{number}");
            let timestamp = world.say(which, group, &body);
            said.push((which, timestamp, body));
        }
        if with_full_queues {
            let full = world.index(5);
            world.server.full = world.devices.get(full).map(|device| device.address.account);
            world.now.0 += 20_000;
            world.input(0, ClientInput::Timeout);
        }
        if number == 2 {
            world.remove(0, group, 3);
        }
        if number == 3 {
            world.change(1, group, GroupChange::SetTimer(60));
        }
        (0..40).for_each(|_| world.step_group());
    }
    world.server.full = None;
    world.calm_down();
    for _ in 0..3 {
        world.exchange();
        world.now.0 += 600_000;
    }
    world.settle();
    let states: Vec<_> = (0..3)
        .map(|which| world.devices[which].client.group_state(group).unwrap().clone())
        .collect();
    assert!(states.iter().all(|state| *state == states[0]), "seed {seed}");
    let accepted = |which: usize, timestamp| {
        world.events(which, group).contains(&GroupEvent::Accepted(timestamp))
    };
    for (which, timestamp, body) in said {
        for reader in (0..3).filter(|reader| *reader != which) {
            let times = world.read(reader, group).iter().filter(|text| **text == body).count();
            assert!(times <= 1, "seed {seed}: {body} was read {times} times");
            if accepted(which, timestamp) {
                assert_eq!(times, 1, "seed {seed}: {body} from {which} to {reader}");
            }
        }
    }
}
