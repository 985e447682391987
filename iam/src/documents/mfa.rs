//! Devices for multi-factor authentication: whose they are, and the secrets of virtual ones.
//!
//! `aws iam create-virtual-mfa-device` writes the secret into its `--outfile`, and not into what it prints. In IAM's
//! own form of a device, which `list-virtual-mfa-devices` prints without secrets, it is the member `Base32StringSeed`.
//! `QRCodePNG`, its other form, is not read; a document with either is secret, whosever device it is of.

use super::document::Document;
use super::error::{BadDocument, MAX_SEED, MIN_SEED};
use crate::arn::{Arn, IamArn, IamKind, is_account_id};
use crate::json::not_null;
use crate::mfa::MfaDevice;
use crate::objects_only;
use data_encoding::BASE32_NOPAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The longest serial number that AWS takes.
const MAX_SERIAL: usize = 256;

/// The devices as the commands print them.
#[derive(Deserialize)]
#[serde(remote = "Self")]
pub(super) struct MfaDevices {
    /// `aws iam create-virtual-mfa-device`
    #[serde(default, deserialize_with = "not_null", rename = "VirtualMFADevice")]
    created: Option<VirtualDevice>,
    /// `aws iam list-virtual-mfa-devices`
    #[serde(default, rename = "VirtualMFADevices")]
    virtual_devices: Vec<VirtualDevice>,
    /// `aws iam list-mfa-devices`
    #[serde(default, rename = "MFADevices")]
    devices: Vec<Device>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct VirtualDevice {
    serial_number: String,
    #[serde(default, deserialize_with = "not_null", rename = "Base32StringSeed")]
    seed: Option<String>,
    /// The same secret, as a picture.
    #[serde(default, deserialize_with = "not_null", rename = "QRCodePNG")]
    picture: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "not_null")]
    user: Option<DeviceUser>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct DeviceUser {
    arn: String,
    #[serde(default, deserialize_with = "not_null")]
    user_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(remote = "Self", rename_all = "PascalCase")]
struct Device {
    user_name: String,
    serial_number: String,
    /// Not AWS's here, and not read: it counts in the form of a virtual device.
    #[serde(default, deserialize_with = "not_null", rename = "Base32StringSeed")]
    seed: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "not_null", rename = "QRCodePNG")]
    picture: Option<IgnoredAny>,
}

objects_only! {
    MfaDevices => "devices for multi-factor authentication",
    VirtualDevice => "a virtual device for multi-factor authentication",
    DeviceUser => "the user of a device",
    Device => "a device for multi-factor authentication",
}

pub(super) fn devices(raw: MfaDevices) -> Result<Document, BadDocument> {
    let mut list = Vec::new();
    let mut has_secret = false;
    for device in raw.created.into_iter().chain(raw.virtual_devices) {
        has_secret |= device.seed.is_some() || device.picture.is_some();
        let serial = device.serial_number;
        account_of(&serial)?;
        let user = match &device.user {
            None => None,
            Some(user) => match IamArn::parse(&user.arn) {
                Ok(arn) if arn.kind == IamKind::User => {
                    Some((arn.account.to_owned(), arn.name.to_owned()))
                }
                // Of the account's root, as which nobody logs in here.
                _ if is_root(&user.arn) => continue,
                _ => return Err(BadDocument::DeviceUser(serial)),
            },
        };
        let seed = device.seed.as_deref().map(|text| seed(&serial, text));
        let seed = seed.transpose()?;
        let user_id = device.user.and_then(|user| user.user_id);
        let device = MfaDevice {
            user,
            user_id,
            seed,
        };
        list.push((serial, device));
    }
    for device in raw.devices {
        has_secret |= device.seed.is_some() || device.picture.is_some();
        let serial = device.serial_number;
        // Hardware has no secret that a document could hold, so no code of it counts.
        if Arn::parse(&serial).is_none() {
            continue;
        }
        let account = account_of(&serial)?.to_owned();
        let user = Some((account, device.user_name));
        let device = MfaDevice {
            user,
            ..MfaDevice::default()
        };
        list.push((serial, device));
    }
    Ok(Document::MfaDevices { list, has_secret })
}

/// The account in the serial number of a device that has an ARN.
fn account_of(serial: &str) -> Result<&str, BadDocument> {
    let arn = Arn::parse(serial).filter(|arn| {
        arn.service == "iam" && is_account_id(arn.account) && serial.len() <= MAX_SERIAL
    });
    arn.map(|arn| arn.account).ok_or(BadDocument::SerialNumber)
}

fn is_root(arn: &str) -> bool {
    Arn::parse(arn).is_some_and(|arn| arn.service == "iam" && arn.resource == "root")
}

/// The secret in this text.
fn seed(serial: &str, text: &str) -> Result<Vec<u8>, BadDocument> {
    let decoded = BASE32_NOPAD.decode(text.trim_end_matches('=').as_bytes());
    let fits = |seed: &Vec<u8>| (MIN_SEED..=MAX_SEED).contains(&seed.len());
    let fault = || BadDocument::Seed(serial.to_owned());
    decoded.ok().filter(fits).ok_or_else(fault)
}
