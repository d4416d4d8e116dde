//! Job control: Ctrl-Z, `fg` and signals while something is typed, with a real shell.

#![cfg(target_os = "linux")]

use crate::terminal::{in_terminal, shell_in_terminal};
use crate::world::{Running, World};

/// Starts an interactive shell with job control in the folder of the receiver.
fn shell(world: &World) -> Running {
    let line = format!(
        "PATH={}:$PATH PS1='$ ' exec bash --norc --noprofile --noediting -i",
        std::path::Path::new(env!("CARGO_BIN_EXE_wormhole")).parent().unwrap().display()
    );
    let shell = shell_in_terminal(world, "receiver", "xterm", &line);
    shell.wait_for_prompt("$ ");
    shell
}

/// Tells how the last command ended, and how the terminal is; nothing that is typed looks like this.
const REPORT: &str =
    "echo status=$?=; stty -a | tr ' ;' '\\n\\n' | grep -x -e icanon -e echo -e isig\r";

/// The code prompt in a shell, with the beginning of a code typed.
fn typing(world: &World) -> Running {
    let mut shell = shell(world);
    shell.type_in("wormhole receive\r");
    shell.wait_for_prompt(CODE);
    shell.type_in("4-armistice-b");
    shell.wait_for_prompt("4-armistice-b");
    shell
}

#[test]
fn a_code_prompt_is_suspended_and_continued_with_what_was_typed() {
    let world = World::new();
    let sender = world.send(&["--code", "4-armistice-baboon", "--text", "hello"]);
    sender.code();
    let mut shell = typing(&world);
    shell.type_in("\x1a");
    shell.wait_for_prompt("Stopped");
    shell.type_in(REPORT);
    shell.wait_for_prompt("status=148=\r\nisig\r\nicanon\r\necho\r\n");
    shell.type_in("fg\r");
    // Typed letters come one by one; a line that is drawn comes whole.
    shell.wait_for_prompt("code: 4-armistice-b");
    shell.type_in("aboon\r");
    shell.wait_for_prompt("hello\r\n");
    shell.type_in("echo status=$?=; exit\r");
    shell.wait_for_prompt("status=0=");
    assert_eq!(shell.end().exit, 0);
    assert_eq!(sender.end().exit, 0);
}

#[test]
fn ctrl_c_works_after_a_code_prompt_was_continued() {
    let world = World::new();
    let mut shell = typing(&world);
    for times in 1..3 {
        shell.type_in("\x1a");
        shell.wait_for_times("Stopped", times);
        shell.type_in("fg\r");
        shell.wait_for_times("code: 4-armistice-b", times);
    }
    shell.type_in("\x03");
    shell.wait_for_prompt("wormhole: error: interrupted\r\n$ ");
    shell.type_in(REPORT);
    shell.wait_for_prompt("status=130=\r\nisig\r\nicanon\r\necho\r\n");
}

#[test]
fn a_code_prompt_that_something_else_stopped_is_drawn_again() {
    let world = World::new();
    let mut shell = shell(&world);
    shell.type_in("(echo pid=$BASHPID=; exec wormhole receive)\r");
    let pid = shell.wait_for("\npid=");
    shell.wait_for_prompt(CODE);
    shell.type_in("4-armistice-b");
    shell.wait_for_prompt("4-armistice-b");
    kill("STOP", &pid);
    shell.wait_for_prompt("Stopped");
    shell.type_in("fg\r");
    shell.wait_for_prompt("code: 4-armistice-b");
    // A key, and not a signal of the terminal: the editor has the terminal again.
    shell.type_in("\x01\x03");
    shell.wait_for_prompt("wormhole: error: interrupted\r\n$ ");
    shell.type_in(REPORT);
    shell.wait_for_prompt("status=130=\r\nisig\r\nicanon\r\necho\r\n");
}

#[test]
fn signals_end_a_code_prompt_and_give_the_terminal_back() {
    let world = World::new();
    for (signal, said, status) in [
        ("INT", "interrupted", 130),
        ("TERM", "terminated", 143),
        ("HUP", "stopped: the terminal was closed", 129),
    ] {
        let mut shell = shell(&world);
        shell.type_in("(echo pid=$BASHPID=; exec wormhole receive)\r");
        let pid = shell.wait_for("\npid=");
        shell.wait_for_prompt(CODE);
        shell.type_in("4-x");
        shell.wait_for_prompt("4-x");
        kill(signal, &pid);
        shell.wait_for_prompt(&format!("wormhole: error: {said}\r\n$ "));
        shell.type_in(REPORT);
        shell.wait_for_prompt(&format!("status={status}=\r\nisig\r\nicanon\r\necho\r\n"));
    }
}

#[test]
fn a_resized_terminal_gets_its_code_prompt_drawn_anew() {
    let world = World::new();
    let sender = world.send(&["--code", "4-armistice-baboon", "--text", "hello"]);
    sender.code();
    let line = format!("tty; exec {} receive", env!("CARGO_BIN_EXE_wormhole"));
    let mut receiver = shell_in_terminal(&world, "receiver", "xterm", &line);
    let terminal = receiver.wait_for("/dev/pts/");
    receiver.wait_for_prompt(CODE);
    receiver.type_in("4-armistice-ba");
    receiver.wait_for_prompt("4-armistice-ba");
    let terminal = format!("/dev/pts/{terminal}");
    let resized =
        std::process::Command::new("stty").args(["-F", &terminal, "cols", "30"]).status().unwrap();
    assert!(resized.success());
    receiver.wait_for_times(CODE, 2);
    receiver.type_in("boon\r");
    let received = receiver.end();
    assert!(received.exit == 0 && received.out().ends_with("hello\r\n"), "{received}");
}

#[test]
fn a_question_is_asked_again_after_it_was_suspended() {
    let world = World::new();
    world.write("sender/f", "content");
    let sender = world.send(&["--code", "4-armistice-baboon", "f"]);
    sender.code();
    let mut shell = shell(&world);
    shell.type_in("wormhole receive 4-armistice-baboon\r");
    shell.wait_for_prompt("Receive it? (Y/n): ");
    shell.type_in("\x1a");
    shell.wait_for_prompt("Stopped");
    shell.type_in("fg\r");
    shell.wait_for_times("Receive it? (Y/n): ", 2);
    shell.type_in("y\r");
    shell.wait_for_prompt("Received file written to: ");
    assert_eq!(sender.end().exit, 0);
    assert_eq!(world.read("receiver/f"), b"content");
}

#[test]
fn a_transfer_goes_on_with_its_bar_after_it_was_suspended() {
    let world = World::new();
    let mut sender = world.send(&["--code", "4-armistice-baboon", "-"]);
    sender.code();
    let mut shell = shell(&world);
    shell.type_in("wormhole receive --accept-file 4-armistice-baboon\r");
    sender.type_in(vec![1; 3_000_000]);
    shell.wait_for_prompt("3.0 MB");
    shell.type_in("\x1a");
    shell.wait_for_prompt("Stopped");
    shell.type_in("fg\r");
    sender.type_in(vec![2; 4_000_000]);
    shell.wait_for_prompt("7.0 MB");
    sender.end_input();
    shell.wait_for_prompt("Received file written to: ");
    assert_eq!(sender.end().exit, 0);
    assert_eq!(world.read("receiver/stdin").len(), 7_000_000);
}

#[test]
fn without_a_shell_that_could_continue_it_a_prompt_ignores_ctrl_z() {
    let world = World::new();
    let mut receiver = in_terminal(&world, "receiver", "receive");
    receiver.wait_for_prompt(CODE);
    receiver.type_in("4-x\x1a");
    receiver.wait_for_prompt("code: 4-x");
    receiver.type_in("\x03");
    assert_eq!(receiver.end().exit, 130);
}

fn kill(signal: &str, pid: &str) {
    let pid = pid.trim_end_matches('=');
    let status = std::process::Command::new("kill").args(["-s", signal, pid]).status().unwrap();
    assert!(status.success());
}

/// The prompt of the code.
const CODE: &str = "Enter receive wormhole code: ";
