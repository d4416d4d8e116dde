//! Requests about the devices of an account. (docs/chat-service.md "Linking a device")

use data_encoding::BASE64;
use hyper::Method;
use wormhole_chat::{DeviceId, NewDeviceList, Response};

use super::json::{self, Attributes, LinkedJson, ListedDevice};
use super::{Service, check, read};
use crate::chat::error::{RequestError, ServerFault};

impl Service {
    /// A code with which another device can be linked to our account. Only the primary device gets one.
    pub(crate) async fn provisioning_code(&self) -> Result<String, RequestError> {
        let path = "/v1/devices/provisioning/code";
        let code: json::DeviceCode = read(&self.ask(Method::GET, path, None).await?)?;
        // It becomes a part of a path.
        let is_code = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_right =
            !code.verification_code.is_empty() && code.verification_code.bytes().all(is_code);
        is_right.then_some(code.verification_code).ok_or_else(|| ServerFault::DeviceCode.into())
    }

    /// Links this device to an account. Can be repeated: the server answers the same request in the same way.
    pub(crate) async fn link_device(
        &self,
        code: &str,
        attributes: &Attributes,
    ) -> Result<LinkedJson, RequestError> {
        let path = format!("/v1/devices/{code}");
        read(&self.ask(Method::PUT, &path, Some(json::write(attributes)?)).await?)
    }

    /// Sends the device that waits at this address the message with which it is linked.
    pub(crate) async fn send_provisioning(
        &self,
        address: &str,
        message: &[u8],
    ) -> Result<(), RequestError> {
        let path = format!("/v1/provisioning/{address}");
        let body = json::write(&json::ProvisioningBody { body: BASE64.encode(message) })?;
        read(&self.ask(Method::PUT, &path, Some(body)).await?).map(|_: json::Accepted| ())
    }

    /// The devices of our account.
    pub(crate) async fn devices(&self) -> Result<Vec<ListedDevice>, RequestError> {
        let devices: json::Devices = read(&self.ask(Method::GET, "/v1/devices", None).await?)?;
        Ok(devices.devices)
    }

    /// The list of our devices, and which exist. The server may be of another kind, which has no lists: `NotFound`.
    pub(crate) async fn device_list(&self) -> Result<Response, RequestError> {
        let answer = match self.ask(Method::GET, "/v1/devices/list", None).await {
            // It knows only other methods of this path.
            Err(RequestError::Refused(405)) => return Err(RequestError::NotFound),
            answer => answer?,
        };
        let list: json::OwnList = read(&answer)?;
        list.check().map(Response::DeviceList).ok_or_else(|| ServerFault::Devices.into())
    }

    /// Replaces the list of our devices.
    pub(crate) async fn put_device_list(
        &self,
        new: &NewDeviceList,
    ) -> Result<Response, RequestError> {
        let body = Some(json::write(&json::NewList::from(new))?);
        let answer = self.exchange(Method::PUT, "/v1/devices/list", body).await?;
        if answer.status == 409 {
            return Ok(Response::DeviceListConflict);
        }
        read(&check(answer)?).map(|_: json::Accepted| Response::Done)
    }

    /// Removes a device of our account.
    pub(crate) async fn remove_device(&self, device: DeviceId) -> Result<(), RequestError> {
        let path = format!("/v1/devices/{}", device.number());
        read(&self.ask(Method::DELETE, &path, None).await?).map(|_: json::Accepted| ())
    }

    /// Sets the encrypted name of this device, in base64.
    pub(crate) async fn name_device(&self, name: &str) -> Result<(), RequestError> {
        let body = json::write(&json::DeviceName { device_name: name })?;
        let answer = self.ask(Method::PUT, "/v1/accounts/name", Some(body)).await?;
        read(&answer).map(|_: json::Accepted| ())
    }
}
