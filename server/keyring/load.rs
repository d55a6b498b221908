//! Where the keys are kept: in a variable, in a file somebody made, or in one of our own.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{KEY_BYTES, Key};
use crate::config::create_folder;

pub(super) const VARIABLE: &str = "WINDLASS_KEYRING";

pub(super) enum Source {
    /// The keys themselves.
    Variable(Zeroizing<String>),
    /// A file that has to be there: a fresh key would open nothing of what the others sealed.
    File(PathBuf),
    /// A file that is made when there is none.
    Own(PathBuf),
}

impl Source {
    /// The keys, the newest first; at least one. What is wrong is told without a word of what was read.
    pub(super) fn keys(&self) -> Result<Vec<Key>, String> {
        match self {
            Source::Variable(text) => parse(text).map_err(|reason| format!("{VARIABLE} {reason}")),
            Source::File(path) => {
                let text = read(path).map_err(|err| cannot(path, "be read", &err))?;
                parse(&text).map_err(|reason| format!("the file {} {reason}", path.display()))
            }
            Source::Own(path) => {
                let text = match read(path) {
                    Err(err) if err.kind() == io::ErrorKind::NotFound => {
                        make(path).map_err(|err| cannot(path, "be made", &err))?;
                        read(path)
                    }
                    read => read,
                };
                let text = text.map_err(|err| cannot(path, "be read", &err))?;
                parse(&text).map_err(|reason| format!("the file {} {reason}", path.display()))
            }
        }
    }
}

fn cannot(path: &Path, what: &str, err: &io::Error) -> String {
    format!("the file {} cannot {what} ({err}); mend that, or set {VARIABLE}", path.display())
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    fs::read_to_string(path).map(Zeroizing::new)
}

fn parse(text: &str) -> Result<Vec<Key>, String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words = lines.flat_map(|line| line.split(',')).map(str::trim);
    let keys: Option<Vec<Key>> = words.filter(|word| !word.is_empty()).map(key).collect();
    let expected = "must hold keys of 32 bytes in base64, the newest first; `openssl rand -base64 32` makes one";
    keys.filter(|keys| !keys.is_empty()).ok_or_else(|| expected.to_owned())
}

fn key(word: &str) -> Option<Key> {
    let bytes = Zeroizing::new(STANDARD.decode(word).ok()?);
    Some(Key::new(Zeroizing::new(<[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok()?)))
}

/// Makes the file whole or not at all: of two processes that make it at the same moment, both use the one that was
/// there first.
fn make(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    create_folder(folder)?;
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| io::Error::other("no randomness"))?;
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(bytes.as_slice())));
    let draft = folder.join(format!(".keyring-{:032x}", rand::random::<u128>()));
    let written = write(&draft, &text).and_then(|()| fs::hard_link(&draft, path));
    _ = fs::remove_file(&draft);
    match written {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
        Ok(()) | Err(_) => {}
    }
    // What is sealed with the key must not outlive it.
    File::open(folder)?.sync_all()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
