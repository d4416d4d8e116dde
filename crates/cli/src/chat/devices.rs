//! `chat devices`: the devices of the account.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{Account, DeviceError, DeviceId, OwnDevice};

use super::{explain, profile};
use crate::args::chat::{AccountArgs, DevicesArgs};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::{printable, units};

/// Lists the devices, names this one, or signs or removes one.
///
/// # Errors
/// The server cannot be asked, or there is no such device.
pub(super) async fn run(args: DevicesArgs, config: &Config, console: &mut Console) -> Result<()> {
    let store = profile::open(&args.client.account, console).await?;
    let account = profile::account(store, &args.client.tor, config, console).await?;
    let explain = |error: &DeviceError| explain::device(error, &args.client.account);
    if let Some(number) = args.remove {
        return remove(&account, number, &args.client.account, console).await;
    }
    if let Some(number) = args.sign {
        let device = (number, args.registration_id);
        return sign(&account, device, &args.client.account, console).await;
    }
    if let Some(name) = &args.name {
        let named = console.unless_interrupted(account.name_device(name)).await?;
        named.map_err(|error| explain(&error))?;
        console.report(&json!({"event": "chat-device-named", "name": name}))?;
        console.screen.show(&format!("This device is called '{}' now.", printable::line(name)));
        return Ok(());
    }
    let devices = console.unless_interrupted(account.devices()).await?;
    for device in devices.map_err(|error| explain(&error))? {
        show(&device, console)?;
    }
    Ok(())
}

async fn remove(
    account: &Account,
    number: u32,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<()> {
    let device = device(number, args)?;
    let removed = console.unless_interrupted(account.remove_device(device)).await?;
    removed.map_err(|error| explain::device(&error, args))?;
    let shown = format!("Device {number} is removed. It cannot read later messages.");
    report("chat-device-removed", number, &shown, console)
}

async fn sign(
    account: &Account,
    (number, registration_id): (u32, Option<u32>),
    args: &AccountArgs,
    console: &mut Console,
) -> Result<()> {
    let device = device(number, args)?;
    let signing = account.sign_device(device, registration_id);
    let signed = console.unless_interrupted(signing).await?;
    let signed = signed.map_err(|error| explain::device(&error, args))?;
    console.report(&json!({
        "event": "chat-device-signed", "device": number, "registration_id": signed,
    }))?;
    let named = match (signed, registration_id) {
        (Some(id), None) => format!(" with the registration id {id}, which the server has named"),
        (Some(_), Some(_)) | (None, _) => String::new(),
    };
    console.screen.show(&format!(
        "Device {number} is signed{named}. It gets your messages from now on, and others accept its messages."
    ));
    Ok(())
}

/// The device with this number.
fn device(number: u32, args: &AccountArgs) -> Result<DeviceId, Failure> {
    DeviceId::new(number).ok_or_else(|| explain::device(&DeviceError::NoSuchDevice, args))
}

fn report(event: &str, number: u32, shown: &str, console: &Console) -> Result<()> {
    console.report(&json!({"event": event, "device": number}))?;
    console.screen.show(shown);
    Ok(())
}

fn show(device: &OwnDevice, console: &Console) -> Result<()> {
    let OwnDevice { device: number, name, created, last_seen, is_this, is_signed, .. } = device;
    let registration_id = device.registration_id;
    let number = number.number();
    let [created, last_seen] = [created, last_seen].map(|time| time.0 / 1000);
    console.report(&json!({
        "event": "chat-device", "device": number, "name": name, "created": created,
        "last_seen": last_seen, "this": is_this, "signed": is_signed, "registration_id": registration_id,
    }))?;
    let name = name.as_deref().filter(|name| !name.is_empty());
    let name = name.map_or_else(|| "(no name)".to_owned(), printable::line);
    let this = if *is_this { ", this device" } else { "" };
    let signed = match (is_signed, registration_id) {
        (true, _) => String::new(),
        (false, Some(id)) => {
            format!(", NOT SIGNED by any of your devices, registration id {id}")
        }
        (false, None) => ", NOT SIGNED by any of your devices".to_owned(),
    };
    let (created, seen) = (day(created), day(last_seen));
    console.print(&format!("{number}  {name}: since {created}, last seen {seen}{this}{signed}\n"))
}

/// The date of a time in seconds since 1970.
fn day(seconds: u64) -> String {
    let time = units::time(seconds);
    time.split(' ').next().unwrap_or_default().to_owned()
}
