//! The documents of a directory, written so that what one login needs of them can be read alone.
//!
//! An account has thousands of roles and policies, of which a login needs a handful. The process
//! that loads the documents writes them in this form; each other process reads the part for its access key,
//! however large the account is.
//!
//! | where | what |
//! |---|---|
//! | 8 bytes | how many entries the index of access keys has |
//! | 48 bytes each | its entries, sorted: SHA-256 of an access key id, then where its list is |
//! | 8 bytes, 48 bytes each | the same for users and roles, by account and name, and for managed policies, by ARN |
//! | behind them | lists, and the texts of the documents' parts, each text once |
//!
//! A place is an offset from the start and a length. Numbers are little-endian. A list is JSON: which
//! texts belong to the access key, what they are, and the names of the files they came from. The entry of
//! the empty id, which no key has, lists what concerns everybody. The second index serves sessions that are
//! stored apart from the documents ([`crate::session_store`]).

use crate::arn::{IamArn, IamKind, SessionArn};
use crate::documents::{self, Document};
use crate::identity::{AccessKey, Identities, Owner};
use crate::session_store::StoredSession;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

const COUNT_LEN: usize = 8;
const HASH_LEN: usize = 32;
const ENTRY_LEN: usize = HASH_LEN + 16;

/// The id of the entry for what concerns everybody.
const EVERYBODY: &str = "";

/// Offset and length.
type Place = (u64, u64);

/// The kind of a text.
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

/// The kind of a text, its place, and the name of its file.
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
    let owners = owners(identities);
    let tables = [keys.len() + 1, owners.len()];
    let room = tables.map(|entries| COUNT_LEN + entries * ENTRY_LEN);
    let mut writer = Writer {
        bytes: vec![0; room.iter().sum()],
        ..Writer::default()
    };
    for (path, text) in documents {
        let file = documents::file_name(path);
        let document = documents::recognize(text).map_err(|_| invalid("a document"))?;
        if document.is_export() {
            writer.export(text, file)?;
            continue;
        }
        let document = document.parse().map_err(|_| invalid("a document"))?;
        if document.is_for_sessions_alone() {
            continue;
        }
        let place = writer.append(text.as_bytes());
        match document {
            Document::Key(id, _) => drop(writer.keys.insert(id, (place, file))),
            _ => writer.everybodys.push((Kind::Whole, place, file.into())),
        }
    }
    let mut index = Vec::with_capacity(tables[0]);
    let everybodys = writer.everybodys.clone();
    index.push((hash(EVERYBODY), writer.list(&everybodys)?));
    for id in keys {
        let mut list = everybodys.clone();
        let (place, file) = writer.keys.get(id).ok_or_else(|| invalid("a key"))?;
        list.push((Kind::Whole, *place, (*file).into()));
        let key = &identities.access_keys[id];
        let concerned = owners_of(key).flat_map(|owner| owners.get(&owner).into_iter().flatten());
        list.extend(writer.parts_of(concerned));
        index.push((hash(id), writer.list(&list)?));
    }
    let mut index_of_owners = Vec::with_capacity(tables[1]);
    for (owner, concerned) in &owners {
        let list = writer.parts_of(concerned);
        index_of_owners.push((hash(owner), writer.list(&list)?));
    }
    let mut bytes = writer.bytes;
    let (first, rest) = bytes.split_at_mut(room[0]);
    write_index(first, index);
    write_index(&mut rest[..room[1]], index_of_owners);
    Ok(bytes)
}

/// Writes an index into the room for it.
fn write_index(room: &mut [u8], mut index: Vec<([u8; HASH_LEN], Place)>) {
    index.sort_unstable();
    room[..COUNT_LEN].copy_from_slice(&(index.len() as u64).to_le_bytes());
    let table = room[COUNT_LEN..].chunks_exact_mut(ENTRY_LEN);
    for (entry, (hash, (offset, len))) in table.zip(index) {
        entry[..HASH_LEN].copy_from_slice(&hash);
        entry[HASH_LEN..HASH_LEN + 8].copy_from_slice(&offset.to_le_bytes());
        entry[HASH_LEN + 8..].copy_from_slice(&len.to_le_bytes());
    }
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

    /// Those of these parts that a document has, each once: a dangling reference dangles in the excerpt as it does in
    /// the whole.
    fn parts_of<'i>(&self, concerned: impl IntoIterator<Item = &'i (Kind, &'i str)>) -> List<'n> {
        let mut concerned: Vec<_> = concerned.into_iter().collect();
        concerned.sort_unstable_by_key(|(kind, arn)| (*kind as u8, *arn));
        concerned.dedup();
        let part = |(kind, arn): &(Kind, &str)| {
            let (place, file) = self.parts.get(&(*kind as u8, (*arn).to_owned()))?;
            Some((*kind, *place, (*file).into()))
        };
        concerned.into_iter().filter_map(part).collect()
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

/// The entries of the second index, each with the parts of documents that it needs, by kind and ARN.
type Owners<'i> = BTreeMap<String, Vec<(Kind, &'i str)>>;

fn owners(identities: &Identities) -> Owners<'_> {
    let mut owners = Owners::new();
    for (name, arn) in &identities.by_name {
        // Of all accounts: which is meant where several have a user of one name, the login finds out.
        let owner = match name.kind {
            IamKind::User => user(&name.name),
            IamKind::Role => role(&name.account, &name.name),
        };
        owners
            .entry(owner)
            .or_default()
            .extend(concerned(identities, arn));
    }
    for arn in identities.policies.keys() {
        owners.insert(policy(arn), vec![(Kind::Policy, arn)]);
    }
    owners
}

fn user(name: &str) -> String {
    format!("user {name}")
}

fn role(account: &str, name: &str) -> String {
    format!("role {account} {name}")
}

fn policy(arn: &str) -> String {
    format!("policy {arn}")
}

/// The entries of the second index that a login with this key may be asked about.
fn owners_of(key: &AccessKey) -> impl Iterator<Item = String> {
    let (owner, session) = match &key.owner {
        Owner::User { name, .. } => (Some(user(name)), None),
        Owner::Session(session) => {
            let of_role = SessionArn::parse(&session.arn).map(|arn| role(arn.account, arn.role));
            let of_user = || IamArn::parse(&session.arn).ok().map(|arn| user(arn.name));
            (of_role.or_else(of_user), Some(session))
        }
    };
    let policies = session.and_then(|session| session.policies.as_ref());
    let attached = policies.into_iter().flat_map(|policies| &policies.attached);
    owner.into_iter().chain(attached.map(|arn| policy(arn)))
}

/// The parts of documents that a login as a user, or in a session of a role, needs, by kind and ARN.
fn concerned<'i>(identities: &'i Identities, arn: &'i str) -> Vec<(Kind, &'i str)> {
    let Some(principal) = identities.principal(arn) else {
        return Vec::new();
    };
    let kind = match IamArn::parse(arn) {
        Ok(parsed) if parsed.kind == IamKind::User => Kind::User,
        _ => Kind::Role,
    };
    let mut list = vec![(kind, arn)];
    let groups = || identities.groups_of(principal).flatten();
    list.extend(groups().map(|group| (Kind::Group, group.arn.as_str())));
    let attached = groups().flat_map(|group| &group.attached);
    let attached = attached.chain(&principal.attached);
    let attached = attached.chain(&principal.boundary);
    list.extend(attached.map(|arn| (Kind::Policy, arn.as_str())));
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
    let (place, _) = find_key(access_key_id, &read)?;
    identities(list(place, &read)?, &read)
}

/// As [`read()`], for a login with the access key of a session that is stored apart from the documents. The session
/// is not in what this gives; a key of the same id is, if a document has one.
///
/// # Errors
/// Those of [`read()`].
pub fn read_for(
    session: &StoredSession,
    read: impl Fn(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<Identities> {
    let (place, owners) = find_key(&session.access_key_id, &read)?;
    let mut all = list(place, &read)?;
    for owner in owners_of(&session.key) {
        if let Some(place) = find(&owner, owners, &read)?.0 {
            all.extend(list(place, &read)?);
        }
    }
    // A policy can be the role's and the session's.
    let mut known = HashSet::new();
    all.retain(|(_, place, _)| known.insert(*place));
    identities(all, &read)
}

/// Where the list of an access key is, or that of what concerns everybody; and where the second index begins.
fn find_key(
    access_key_id: &str,
    read: &impl Fn(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<(Place, u64)> {
    let (place, owners) = find(access_key_id, 0, read)?;
    let place = match place {
        Some(place) => place,
        None => find(EVERYBODY, 0, read)?
            .0
            .ok_or_else(|| invalid("the index"))?,
    };
    Ok((place, owners))
}

fn text(
    (offset, len): Place,
    read: &impl Fn(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<String> {
    let len = usize::try_from(len).map_err(|_| invalid("a place"))?;
    String::from_utf8(read(offset, len)?).map_err(|_| invalid("a text"))
}

fn list(
    place: Place,
    read: &impl Fn(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<List<'static>> {
    Ok(serde_json::from_str(&text(place, read)?)?)
}

/// The identities in the texts of a list.
fn identities(
    list: List<'_>,
    read: &impl Fn(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<Identities> {
    let mut identities = Identities::default();
    let mut add = |file: &str, text: &str| {
        let document = documents::parse(text).map_err(|_| invalid("a document"))?;
        let added = documents::add(&mut identities, file, document);
        added.map_err(|_| invalid("a document"))
    };
    // The members of each export, as one with nothing else in it.
    let mut exports: BTreeMap<Cow<'_, str>, [Vec<String>; 4]> = BTreeMap::new();
    for (kind, place, file) in list {
        let text = text(place, read)?;
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

/// Looks up an entry of the index that begins at `start`; gives where the index ends as well.
fn find(
    name: &str,
    start: u64,
    read: &impl Fn(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<(Option<Place>, u64)> {
    let number = |bytes: &[u8]| {
        let bytes = bytes.try_into().map_err(|_| invalid("a number"))?;
        Ok::<u64, io::Error>(u64::from_le_bytes(bytes))
    };
    let offset_of = |entry: u64| {
        let offset = entry.checked_mul(ENTRY_LEN as u64)?;
        offset.checked_add(start)?.checked_add(COUNT_LEN as u64)
    };
    let wanted = hash(name);
    let entries = number(&read(start, COUNT_LEN)?)?;
    let index_end = offset_of(entries).ok_or_else(|| invalid("the index"))?;
    let (mut first, mut end) = (0, entries);
    while first < end {
        let middle = first + (end - first) / 2;
        let offset = offset_of(middle).ok_or_else(|| invalid("the index"))?;
        let entry = read(offset, ENTRY_LEN)?;
        let (hash, place) = entry.split_at(HASH_LEN);
        match hash.cmp(&wanted) {
            std::cmp::Ordering::Less => first = middle + 1,
            std::cmp::Ordering::Greater => end = middle,
            std::cmp::Ordering::Equal => {
                let place = (number(&place[..8])?, number(&place[8..])?);
                return Ok((Some(place), index_end));
            }
        }
    }
    Ok((None, index_end))
}

fn hash(name: &str) -> [u8; HASH_LEN] {
    Sha256::digest(name).into()
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what} is not as it was written"),
    )
}
