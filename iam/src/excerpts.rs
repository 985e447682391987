//! The documents of a directory, written so that what one login needs of them can be read alone.
//!
//! An account has thousands of roles and policies, of which a login needs a handful. Whoever has
//! read all of the documents leaves them in this form, so that no other process has to read more than
//! its own part, however large the account is.
//!
//! | where | what |
//! |---|---|
//! | 8 bytes | how many entries there are |
//! | 48 bytes each | the entries, sorted: SHA-256 of an access key id, then where its list is |
//! | behind them | lists, and the texts of the documents' parts, each text once |
//!
//! A place is an offset from the start and a length. Numbers are little-endian. A list is JSON: which
//! texts belong to the access key, what they are, and the names of the files they came from. The entry of
//! the empty id, which no key has, lists what concerns everybody.

use crate::arn::IamKind;
use crate::documents::{self, Document};
use crate::identity::{AccessKey, Identities, Owner};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io;

const COUNT_LEN: usize = 8;
const HASH_LEN: usize = 32;
const ENTRY_LEN: usize = HASH_LEN + 16;

/// The id of the entry for what concerns everybody.
const EVERYBODY: &str = "";

/// Offset and length.
type Place = (u64, u64);

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    /// A document as it is.
    Whole,
    /// A member of `UserDetailList`.
    User,
    /// A member of `GroupDetailList`.
    Group,
    /// A member of `RoleDetailList`.
    Role,
    /// A member of `Policies`.
    Policy,
}

/// What a text is, where it is, and the name of its file.
type List<'n> = Vec<(Kind, Place, Cow<'n, str>)>;

/// The lists of an export, each member as it stands there.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Export<'t> {
    #[serde(default, borrow)]
    user_detail_list: Vec<&'t RawValue>,
    #[serde(default, borrow)]
    group_detail_list: Vec<&'t RawValue>,
    #[serde(default, borrow)]
    role_detail_list: Vec<&'t RawValue>,
    #[serde(default, borrow)]
    policies: Vec<&'t RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    arn: String,
    /// Of a policy.
    #[serde(default)]
    default_version_id: String,
}

/// Writes the documents, each the name of a file and its text, from which the `identities` were read.
///
/// # Errors
/// If the documents are not those of `identities`.
pub fn write<'t>(
    documents: impl IntoIterator<Item = (&'t str, &'t str)>,
    identities: &Identities,
) -> io::Result<Vec<u8>> {
    let keys: Vec<&String> = identities.access_keys.keys().collect();
    let entries = keys.len() + 1;
    let mut writer = Writer {
        bytes: vec![0; COUNT_LEN + entries * ENTRY_LEN],
        ..Writer::default()
    };
    for (path, text) in documents {
        let file = documents::file_name(path);
        if documents::is_export(text) {
            writer.export(text, file)?;
            continue;
        }
        let place = writer.append(text.as_bytes());
        match documents::parse(text).map_err(|_| invalid("a document"))? {
            Document::Key(id, _) => drop(writer.keys.insert(id, (place, file))),
            _ => writer.everybodys.push((Kind::Whole, place, file.into())),
        }
    }
    let mut index = Vec::with_capacity(entries);
    let everybodys = writer.everybodys.clone();
    index.push((hash(EVERYBODY), writer.list(&everybodys)?));
    let users = users_by_name(identities);
    for id in keys {
        let mut list = everybodys.clone();
        let (place, file) = writer.keys.get(id).ok_or_else(|| invalid("a key"))?;
        list.push((Kind::Whole, *place, (*file).into()));
        let key = &identities.access_keys[id];
        for (kind, arn) in concerned(identities, &users, key) {
            // What is in no document is missed by the excerpt as it is by the whole.
            let part = writer.parts.get(&(kind as u8, arn.to_owned()));
            list.extend(part.map(|(place, file)| (kind, *place, (*file).into())));
        }
        index.push((hash(id), writer.list(&list)?));
    }
    index.sort_unstable();
    let mut bytes = writer.bytes;
    bytes[..COUNT_LEN].copy_from_slice(&(entries as u64).to_le_bytes());
    let table = bytes[COUNT_LEN..].chunks_exact_mut(ENTRY_LEN);
    for (entry, (hash, (offset, len))) in table.zip(index) {
        entry[..HASH_LEN].copy_from_slice(&hash);
        entry[HASH_LEN..HASH_LEN + 8].copy_from_slice(&offset.to_le_bytes());
        entry[HASH_LEN + 8..].copy_from_slice(&len.to_le_bytes());
    }
    Ok(bytes)
}

#[derive(Default)]
struct Writer<'n> {
    bytes: Vec<u8>,
    everybodys: List<'n>,
    keys: HashMap<String, (Place, &'n str)>,
    /// By kind and ARN.
    parts: HashMap<(u8, String), (Place, &'n str)>,
    /// The versions of the policies among them, by ARN.
    versions: HashMap<String, String>,
}

impl<'n> Writer<'n> {
    fn append(&mut self, bytes: &[u8]) -> Place {
        let offset = self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        (offset, bytes.len() as u64)
    }

    fn list(&mut self, list: &List<'_>) -> io::Result<Place> {
        let bytes = serde_json::to_vec(list)?;
        Ok(self.append(&bytes))
    }

    /// Notes the version of a policy, unless a newer one is there already.
    fn is_newest(&mut self, policy: &Named) -> bool {
        let (arn, version) = (&policy.arn, &policy.default_version_id);
        let known = self.versions.get(arn);
        let is_older = |known: &String| documents::is_newer(known, version) == Some(true);
        if known.is_some_and(is_older) {
            return false;
        }
        self.versions.insert(arn.clone(), version.clone());
        true
    }

    fn export(&mut self, text: &str, file: &'n str) -> io::Result<()> {
        let export: Export<'_> = serde_json::from_str(text)?;
        for (kind, members) in [
            (Kind::User, export.user_detail_list),
            (Kind::Group, export.group_detail_list),
            (Kind::Role, export.role_detail_list),
            (Kind::Policy, export.policies),
        ] {
            for member in members {
                let named: Named = serde_json::from_str(member.get())?;
                if matches!(kind, Kind::Policy) && !self.is_newest(&named) {
                    continue;
                }
                let arn = named.arn;
                let place = self.append(member.get().as_bytes());
                self.parts.insert((kind as u8, arn), (place, file));
            }
        }
        Ok(())
    }
}

/// The ARNs of all users of a name, whichever account they are of.
type UsersByName<'i> = HashMap<&'i str, Vec<&'i str>>;

fn users_by_name(identities: &Identities) -> UsersByName<'_> {
    let mut users = UsersByName::new();
    for (key, arn) in &identities.by_name {
        if key.kind == IamKind::User {
            users.entry(&key.name).or_default().push(arn);
        }
    }
    users
}

/// What a login with this key may be asked about, by kind and ARN.
fn concerned<'i>(
    identities: &'i Identities,
    users: &UsersByName<'i>,
    key: &'i AccessKey,
) -> Vec<(Kind, &'i str)> {
    let mut list = Vec::new();
    let (kind, arns, session) = match &key.owner {
        Owner::User { name, .. } => {
            let arns = users.get(name.as_str()).cloned().unwrap_or_default();
            (Kind::User, arns, None)
        }
        Owner::Session(session) => {
            let role = identities.role_of(session);
            let arns = role.map(|role| role.arn.as_str()).into_iter().collect();
            (Kind::Role, arns, Some(session))
        }
    };
    for arn in arns {
        list.push((kind, arn));
        let Some(principal) = identities.principal(arn) else {
            continue;
        };
        let groups = || identities.groups_of(principal).flatten();
        list.extend(groups().map(|group| (Kind::Group, group.arn.as_str())));
        let attached = groups().flat_map(|group| &group.attached);
        let attached = attached.chain(&principal.attached);
        let attached = attached.chain(&principal.boundary);
        list.extend(attached.map(|arn| (Kind::Policy, arn.as_str())));
    }
    let policies = session.and_then(|session| session.policies.as_ref());
    let attached = policies.into_iter().flat_map(|policies| &policies.attached);
    list.extend(attached.map(|arn| (Kind::Policy, arn.as_str())));
    list.sort_unstable_by_key(|(kind, arn)| (*kind as u8, *arn));
    list.dedup();
    list
}

/// Reads what a login with the access key of this id needs, as identities: a login is judged by them as it
/// would be by all. If there is no such key, there is none in them either.
///
/// `read` gives as many bytes as it is asked for, from the offset on.
///
/// # Errors
/// Those of `read`, and [`io::ErrorKind::InvalidData`] if the bytes are not what [`write()`] wrote.
pub fn read(
    access_key_id: &str,
    read: impl Fn(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<Identities> {
    let place = match find(access_key_id, &read)? {
        Some(place) => place,
        None => find(EVERYBODY, &read)?.ok_or_else(|| invalid("the index"))?,
    };
    let text = |(offset, len): Place| {
        let len = usize::try_from(len).map_err(|_| invalid("a place"))?;
        String::from_utf8(read(offset, len)?).map_err(|_| invalid("a text"))
    };
    let list = text(place)?;
    let list: List<'_> = serde_json::from_str(&list)?;
    let mut identities = Identities::default();
    let mut add = |file: &str, text: &str| {
        let document = documents::parse(text).map_err(|_| invalid("a document"))?;
        let added = documents::add(&mut identities, file, document);
        added.map_err(|_| invalid("a document"))
    };
    // The members of each export, as one with nothing else in it.
    let mut exports: BTreeMap<Cow<'_, str>, [Vec<String>; 4]> = BTreeMap::new();
    for (kind, place, file) in list {
        let text = text(place)?;
        let list = match kind {
            Kind::Whole => {
                add(&file, &text)?;
                continue;
            }
            Kind::User => 0,
            Kind::Group => 1,
            Kind::Role => 2,
            Kind::Policy => 3,
        };
        exports.entry(file).or_default()[list].push(text);
    }
    for (file, members) in exports {
        let [users, groups, roles, policies] = members.map(|members| members.join(","));
        let export = format!(
            "{{\"UserDetailList\":[{users}],\"GroupDetailList\":[{groups}],\
             \"RoleDetailList\":[{roles}],\"Policies\":[{policies}]}}"
        );
        add(&file, &export)?;
    }
    Ok(identities)
}

/// Looks an entry up.
fn find(
    access_key_id: &str,
    read: &impl Fn(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<Option<Place>> {
    let number = |bytes: &[u8]| {
        let bytes = bytes.try_into().map_err(|_| invalid("a number"))?;
        Ok::<u64, io::Error>(u64::from_le_bytes(bytes))
    };
    let wanted = hash(access_key_id);
    let (mut first, mut end) = (0, number(&read(0, COUNT_LEN)?)?);
    while first < end {
        let middle = first + (end - first) / 2;
        let offset = middle.checked_mul(ENTRY_LEN as u64);
        let offset = offset.and_then(|offset| offset.checked_add(COUNT_LEN as u64));
        let entry = read(offset.ok_or_else(|| invalid("the index"))?, ENTRY_LEN)?;
        let (hash, place) = entry.split_at(HASH_LEN);
        match hash.cmp(&wanted) {
            std::cmp::Ordering::Less => first = middle + 1,
            std::cmp::Ordering::Greater => end = middle,
            std::cmp::Ordering::Equal => {
                return Ok(Some((number(&place[..8])?, number(&place[8..])?)));
            }
        }
    }
    Ok(None)
}

fn hash(access_key_id: &str) -> [u8; HASH_LEN] {
    Sha256::digest(access_key_id).into()
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what} is not as it was written"),
    )
}
