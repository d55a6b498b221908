//! The installation's keys: seal what must be kept and not read, and sign what comes back from outside.
//!
//! The newest key seals and signs; every key opens and verifies. Each purpose has keys of its own, derived from these,
//! so that a link is never taken for a request's state.

mod load;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest, hkdf, hmac,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::config::Config;

/// What a sealed text begins with.
pub const SEALED: &str = "sealed:v1:";

/// What it ends with: so that it is found in a longer text, whatever follows it there.
pub const SEAL_END: char = '.';

/// What is shown in the place of a sealed text to whoever only looks.
pub(crate) const SHOWN: &str = "[sealed]";

const SIGNED: &str = "signed:v1:";

const KEY_BYTES: usize = 32;

/// What something is sealed or signed for; nothing opens or verifies for another purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// What a tool's output schema marks `writeOnly`.
    Output,
    /// An address that may be opened without a password.
    Link,
    /// What a client has to hand back as it got it.
    RequestState,
}

/// The keys; cheap to clone. They are looked for when they are first needed.
#[derive(Clone)]
pub struct Keyring {
    inner: Arc<Inner>,
}

struct Inner {
    source: load::Source,
    keys: Mutex<Option<Arc<[Key]>>>,
}

/// One key, and what it is called.
struct Key {
    id: String,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

/// Why something is not sealed, signed, opened or believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no keys to be had.
    #[error("the keyring cannot be used: {0}")]
    Unusable(String),
    /// It was not written by [`Keyring::seal`] or [`Keyring::sign`], or not whole.
    #[error("it is no text of this keyring")]
    Malformed,
    /// It was written with a key that is not here.
    #[error("it was made with key {0}, which is not in this keyring; add it behind the newest one")]
    UnknownKey(String),
    /// It was changed, or belongs elsewhere.
    #[error("it was changed, or was made for something else")]
    Forged,
    /// Its time is over.
    #[error("its time is over")]
    Expired,
}

impl Purpose {
    fn text(self) -> &'static [u8] {
        match self {
            Purpose::Output => b"dev.windlass/output",
            Purpose::Link => b"dev.windlass/link",
            Purpose::RequestState => b"dev.windlass/request-state",
        }
    }
}

impl Keyring {
    /// The keyring of a configuration; `WINDLASS_KEYRING` in the environment wins over its file.
    #[must_use]
    pub fn new(config: &Config) -> Keyring {
        let variable = std::env::var(load::VARIABLE).ok().filter(|text| !text.is_empty());
        let source = match variable {
            Some(keys) => load::Source::Variable(Zeroizing::new(keys)),
            None if config.keyring_file.as_os_str().is_empty() => {
                load::Source::Own(config.data_dir.join("keyring"))
            }
            None => load::Source::File(config.keyring_file.clone()),
        };
        Keyring::of(source)
    }

    /// A keyring that keeps its keys in this file, and makes it when it is needed.
    #[must_use]
    pub fn in_file(path: PathBuf) -> Keyring {
        Keyring::of(load::Source::Own(path))
    }

    fn of(source: load::Source) -> Keyring {
        Keyring { inner: Arc::new(Inner { source, keys: Mutex::new(None) }) }
    }

    /// The names of the keys, the newest first.
    ///
    /// # Errors
    /// When there are no keys to be had.
    pub fn ids(&self) -> Result<Vec<String>, Error> {
        Ok(self.keys()?.iter().map(|key| key.id.clone()).collect())
    }

    /// Encrypts, so that it opens only for the same purpose and in the same context, such as an execution's id.
    ///
    /// # Errors
    /// When there are no keys to be had.
    pub fn seal(&self, purpose: Purpose, context: &str, bytes: &[u8]) -> Result<String, Error> {
        let keys = self.keys()?;
        let key = newest(&keys)?;
        let mut sealed = bytes.to_vec();
        let cipher = key.cipher(purpose)?;
        let nonce = cipher.seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut sealed);
        let nonce = nonce.map_err(|_| Error::Unusable("nothing can be encrypted".to_owned()))?;
        let text = URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &sealed].concat());
        Ok(format!("{SEALED}{}:{text}{SEAL_END}", key.id))
    }

    /// What was sealed for this purpose in this context.
    ///
    /// # Errors
    /// When it was not, or the key is not here.
    pub fn open(
        &self,
        purpose: Purpose,
        context: &str,
        text: &str,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let body = text.strip_prefix(SEALED).and_then(|rest| rest.strip_suffix(SEAL_END));
        let (id, body) = body.and_then(|body| body.split_once(':')).ok_or(Error::Malformed)?;
        let mut sealed =
            Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| Error::Malformed)?);
        let (nonce, body) = sealed.split_at_mut_checked(NONCE_LEN).ok_or(Error::Malformed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Malformed)?;
        let keys = self.keys()?;
        let cipher = named(&keys, id)?.cipher(purpose)?;
        let opened = cipher.open_in_place(nonce, Aad::from(context.as_bytes()), body);
        Ok(Zeroizing::new(opened.map_err(|_| Error::Forged)?.to_vec()))
    }

    /// Signs what may be read by anybody and changed by nobody, until a time in milliseconds since 1970. The answer
    /// has only letters that may stand in an address.
    ///
    /// # Errors
    /// When there are no keys to be had.
    pub fn sign(&self, purpose: Purpose, bytes: &[u8], expires_at: i64) -> Result<String, Error> {
        let keys = self.keys()?;
        let key = newest(&keys)?;
        let body = URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{SIGNED}{}:{expires_at}:{body}", key.id);
        let tag = hmac::sign(&key.signer(purpose)?, signed.as_bytes());
        Ok(format!("{signed}:{}", URL_SAFE_NO_PAD.encode(tag.as_ref())))
    }

    /// What was signed for this purpose and is still valid.
    ///
    /// # Errors
    /// When it was not, or the key is not here, or its time is over.
    pub fn verify(&self, purpose: Purpose, text: &str, now: i64) -> Result<Vec<u8>, Error> {
        let (signed, tag) = text.rsplit_once(':').ok_or(Error::Malformed)?;
        let parts = signed.strip_prefix(SIGNED).ok_or(Error::Malformed)?;
        let mut parts = parts.split(':');
        let (Some(id), Some(expires_at), Some(body), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::Malformed);
        };
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| Error::Malformed)?;
        let keys = self.keys()?;
        let signer = named(&keys, id)?.signer(purpose)?;
        hmac::verify(&signer, signed.as_bytes(), &tag).map_err(|_| Error::Forged)?;
        let expires_at: i64 = expires_at.parse().map_err(|_| Error::Malformed)?;
        if expires_at <= now {
            return Err(Error::Expired);
        }
        URL_SAFE_NO_PAD.decode(body).map_err(|_| Error::Malformed)
    }

    fn keys(&self) -> Result<Arc<[Key]>, Error> {
        let mut keys = self.inner.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = &*keys {
            return Ok(Arc::clone(keys));
        }
        let loaded: Arc<[Key]> = self.inner.source.keys().map_err(Error::Unusable)?.into();
        *keys = Some(Arc::clone(&loaded));
        Ok(loaded)
    }
}

/// How long the sealed text is that a text begins with, if one begins there.
pub(crate) fn token_at(text: &str) -> Option<usize> {
    let body = text.strip_prefix(SEALED)?;
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_:".contains(letter);
    let end = body.find(|letter| !is_part(letter))?;
    body[end..].starts_with(SEAL_END).then_some(SEALED.len() + end + SEAL_END.len_utf8())
}

fn newest(keys: &[Key]) -> Result<&Key, Error> {
    keys.first().ok_or_else(|| Error::Unusable("it holds no key".to_owned()))
}

fn named<'a>(keys: &'a [Key], id: &str) -> Result<&'a Key, Error> {
    keys.iter().find(|key| key.id == id).ok_or_else(|| Error::UnknownKey(id.to_owned()))
}

impl Key {
    fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Key {
        let named = [b"dev.windlass/key-id".as_slice(), bytes.as_slice()].concat();
        let digest = digest::digest(&digest::SHA256, &Zeroizing::new(named));
        let id = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Key { id, bytes }
    }

    fn cipher(&self, purpose: Purpose) -> Result<RandomizedNonceKey, Error> {
        let unusable = |_| Error::Unusable("a key cannot be used".to_owned());
        RandomizedNonceKey::new(&AES_256_GCM, self.derived(purpose, b"seal")?.as_slice())
            .map_err(unusable)
    }

    fn signer(&self, purpose: Purpose) -> Result<hmac::Key, Error> {
        Ok(hmac::Key::new(hmac::HMAC_SHA256, self.derived(purpose, b"sign")?.as_slice()))
    }

    fn derived(
        &self,
        purpose: Purpose,
        what_for: &[u8],
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, Error> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"dev.windlass/keyring");
        let mut derived = Zeroizing::new([0; KEY_BYTES]);
        let extracted = salt.extract(self.bytes.as_slice());
        let info = [purpose.text(), b"/", what_for];
        let expanded = extracted.expand(&info, hkdf::HKDF_SHA256);
        let filled = expanded.and_then(|key| key.fill(derived.as_mut_slice()));
        filled.map_err(|_| Error::Unusable("a key cannot be derived".to_owned()))?;
        Ok(derived)
    }
}

/// Shows no key.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(***)")
    }
}

#[cfg(test)]
mod tests;
