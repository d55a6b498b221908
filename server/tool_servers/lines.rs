//! Reads lines of bounded length; a line that is too long is skipped, but not unseen.

use std::collections::VecDeque;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

const BUFFER: usize = 64 * 1024;
/// How much is kept of both ends of a line that is too long.
const ENDS: usize = 1024;

/// What was read.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// A line without its end.
    Whole(Vec<u8>),
    /// Both ends of a line that was longer than allowed.
    TooLong {
        /// How it began.
        head: Vec<u8>,
        /// How it ended.
        tail: Vec<u8>,
    },
}

/// The lines of a stream. [`Lines::next`] may be dropped at any time and loses nothing.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    longest: usize,
    line: Vec<u8>,
    tail: Option<VecDeque<u8>>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, longest: usize) -> Lines<R> {
        let reader = BufReader::with_capacity(BUFFER, reader);
        Lines { reader, longest, line: Vec::new(), tail: None }
    }

    /// The next line; `None` at the end of the stream, which also ends a line without an end.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            let available = self.reader.fill_buf().await.unwrap_or_default();
            if available.is_empty() {
                return self.rest();
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            let consumed = part.len() + usize::from(end.is_some());
            keep(&mut self.line, &mut self.tail, part, self.longest);
            self.reader.consume(consumed);
            if end.is_some() {
                return Some(self.take());
            }
        }
    }

    fn rest(&mut self) -> Option<Line> {
        (!self.line.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> Line {
        let line = std::mem::take(&mut self.line);
        match self.tail.take() {
            None => Line::Whole(line),
            Some(tail) => Line::TooLong { head: line, tail: tail.into() },
        }
    }
}

fn keep(line: &mut Vec<u8>, tail: &mut Option<VecDeque<u8>>, part: &[u8], longest: usize) {
    match tail {
        None if line.len() + part.len() <= longest => line.extend_from_slice(part),
        None => {
            line.extend_from_slice(part);
            *tail = Some(line[line.len().saturating_sub(ENDS)..].to_vec().into());
            line.truncate(ENDS);
            line.shrink_to_fit();
        }
        Some(tail) => {
            tail.extend(&part[part.len().saturating_sub(ENDS)..]);
            let surplus = tail.len().saturating_sub(ENDS);
            tail.drain(..surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &[u8], longest: usize) -> Vec<Line> {
        let mut lines = Lines::new(text, longest);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push(line);
        }
        all
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.into())
    }

    #[tokio::test]
    async fn every_line_is_read_even_one_without_an_end() {
        assert_eq!(lines(b"a\n\nbc", 10).await, [whole("a"), whole(""), whole("bc")]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_keeps_its_ends_and_spares_the_next() {
        let long = format!("start{}stop", "x".repeat(200_000));
        let read = lines(format!("{long}\nnext\n").as_bytes(), 100_000).await;
        let Line::TooLong { head, tail } = &read[0] else { panic!("{read:?}") };
        assert!(head.starts_with(b"startxxx") && head.len() == ENDS, "{}", head.len());
        assert!(tail.ends_with(b"xxxstop") && tail.len() == ENDS, "{}", tail.len());
        assert_eq!(read[1], whole("next"));
    }
}
