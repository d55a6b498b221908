//! A network between two programs that can be cut, slowed down, or struck dumb.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Forwards connections to a port of this machine, which may become another one.
pub struct Proxy {
    port: u16,
    line: Arc<Line>,
}

struct Line {
    target: Mutex<u16>,
    /// Nothing of what the program in front says goes through, and nobody is told.
    keeps_questions: AtomicBool,
    /// The same for what the port says.
    keeps_answers: AtomicBool,
    /// How many pieces were kept so far.
    kept: AtomicU64,
    /// What, once it was said in front, has the answers kept from then on.
    last_words: Mutex<Option<&'static str>>,
    /// How long every piece takes, in milliseconds.
    delay_ms: AtomicU64,
    is_over: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// A proxy in front of a port.
    pub fn to(target: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let line = Arc::new(Line {
            target: Mutex::new(target),
            keeps_questions: AtomicBool::new(false),
            keeps_answers: AtomicBool::new(false),
            kept: AtomicU64::new(0),
            last_words: Mutex::default(),
            delay_ms: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = Arc::clone(&line);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.is_over.load(Ordering::Relaxed) {
                    return;
                }
                accepting.accept(stream);
            }
        });
        Proxy { port, line }
    }

    /// The same address, by way of this proxy.
    pub fn instead_of(&self, address: &str) -> String {
        let (before, rest) = address.rsplit_once(':').expect("it has a port");
        let (_, after) = rest.split_once('/').expect("it has a path");
        format!("{before}:{}/{after}", self.port)
    }

    /// Sends later connections elsewhere.
    pub fn lead_to(&self, target: u16) {
        *self.line.target.lock().unwrap() = target;
    }

    /// Cuts every connection that is open.
    pub fn cut(&self) {
        for stream in self.line.open.lock().unwrap().drain(..) {
            _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections and everything that is said, and lets nothing through, until it is told otherwise.
    pub fn mute(&self, is_mute: bool) {
        self.line.keeps_questions.store(is_mute, Ordering::Relaxed);
        self.mute_answers(is_mute);
    }

    /// The same for what the port says; what it is told goes through.
    pub fn mute_answers(&self, is_mute: bool) {
        self.line.keeps_answers.store(is_mute, Ordering::Relaxed);
    }

    /// The same, as soon as the program in front has said this.
    pub fn mute_answers_to(&self, words: &'static str) {
        *self.line.last_words.lock().unwrap() = Some(words);
    }

    /// How many pieces of what was said were kept so far because the proxy was mute.
    pub fn kept(&self) -> u64 {
        self.line.kept.load(Ordering::Relaxed)
    }

    /// Makes every piece take so long.
    pub fn delay(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap();
        self.line.delay_ms.store(time, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.is_over.store(true, Ordering::Relaxed);
        self.cut();
        // Whoever waits for the next connection looks up.
        _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Line {
    /// Who is answered by nobody is turned away, as by a port on which nobody listens.
    fn accept(self: &Arc<Self>, client: TcpStream) {
        let target = SocketAddr::from(([127, 0, 0, 1], *self.target.lock().unwrap()));
        let Ok(server) = TcpStream::connect(target) else { return };
        _ = (client.set_nodelay(true), server.set_nodelay(true));
        for stream in [&client, &server] {
            self.open.lock().unwrap().push(stream.try_clone().unwrap());
        }
        let (asking, answered) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let line = Arc::clone(self);
        thread::spawn(move || {
            line.carry(asking, answered, &line.keeps_questions, |piece| line.hear(piece));
        });
        let line = Arc::clone(self);
        thread::spawn(move || line.carry(server, client, &line.keeps_answers, |_| ()));
    }

    fn hear(&self, piece: &[u8]) {
        let mut last_words = self.last_words.lock().unwrap();
        let is_said = |words: &str| piece.windows(words.len()).any(|part| part == words.as_bytes());
        if last_words.take_if(|words| is_said(words)).is_some() {
            self.keeps_answers.store(true, Ordering::Relaxed);
        }
    }

    fn carry(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        is_kept: &AtomicBool,
        hear: impl Fn(&[u8]),
    ) {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(length) = from.read(&mut piece) {
            if length == 0 {
                break;
            }
            if is_kept.load(Ordering::Relaxed) {
                self.kept.fetch_add(1, Ordering::Relaxed);
            }
            while is_kept.load(Ordering::Relaxed) && !self.is_over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(10));
            }
            thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::Relaxed)));
            hear(&piece[..length]);
            if to.write_all(&piece[..length]).is_err() {
                break;
            }
        }
        _ = from.shutdown(Shutdown::Both);
        _ = to.shutdown(Shutdown::Both);
    }
}
