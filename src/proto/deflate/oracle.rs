//! Somebody else's DEFLATE for tests: zlib by way of one `python3` process, which lives as long as the tests.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
};

/// Requests on stdin, answers on stdout, as 32-bit big-endian numbers and octet strings behind their length.
///
/// `1 level memory wbits takeover n message*` → `n` payloads, tails cut off. `2 wbits takeover step n payload*` → `n` messages, each
/// as 1 and itself, or 0 and the error. `step`: octets inflated at once; 1 makes the window all there is to look back into.
const PROGRAM: &str = r#"
import struct, sys, zlib
i, o = sys.stdin.buffer, sys.stdout.buffer
def num():
    b = i.read(4)
    if len(b) < 4: sys.exit()
    return struct.unpack('>I', b)[0]
answer = [] # written when the request is read: neither side waits for the other
def out(b): answer.append(struct.pack('>I', len(b)) + b)
def inflate(d, data, step):
    got = []
    while True:
        part = d.decompress(data, step)
        got.append(part)
        data = d.unconsumed_tail
        if d.eof or (not data and len(part) < step): break
    return b''.join(got), d.unused_data
while True:
    op = num()
    if op == 1:
        level, memory, wbits, takeover, n = (num() for _ in range(5))
        c = None
        for _ in range(n):
            m = i.read(num())
            if c is None or not takeover: c = zlib.compressobj(level, zlib.DEFLATED, -wbits, memory)
            if m:
                z = c.compress(m) + c.flush(zlib.Z_SYNC_FLUSH)
                assert z.endswith(b'\0\0\xff\xff')
                out(z[:-4])
            else: out(b'\0')
    else:
        wbits, takeover, step, n = (num() for _ in range(4))
        d = None
        for _ in range(n):
            p = i.read(num()) + b'\0\0\xff\xff'
            if d is None or not takeover: d = zlib.decompressobj(-wbits)
            try:
                m, rest = inflate(d, p, step)
                answer.append(b'\1'); out(m)
            except zlib.error as e:
                answer.append(b'\0'); out(str(e).encode())
    o.write(b''.join(answer)); o.flush()
    answer.clear()
"#;

struct Python {
    /// Ends when its input does, with this process.
    _child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

static PYTHON: LazyLock<Mutex<Python>> = LazyLock::new(|| {
    let mut child = Command::new("python3")
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("these tests compare with the zlib of python3, which must be installed");
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    Mutex::new(Python { _child: child, input, output })
});

/// A compressor of somebody else's, and how it is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Foreign {
    pub(super) level: u8,
    pub(super) memory_level: u8,
    pub(super) window_bits: u8,
    pub(super) takeover: bool,
}

/// Payloads of these messages, one after the other.
pub(super) fn deflate(foreign: Foreign, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let Foreign { level, memory_level, window_bits, takeover } = foreign;
    let head = [1, level.into(), memory_level.into(), window_bits.into(), takeover.into(), messages.len() as u32];
    ask(&head, messages, |python| python.string())
}

/// Messages in these payloads. `step`: see above.
pub(super) fn inflate(
    window_bits: u8,
    takeover: bool,
    step: u32,
    payloads: &[Vec<u8>],
) -> Vec<Result<Vec<u8>, String>> {
    let head = [2, window_bits.into(), takeover.into(), step, payloads.len() as u32];
    ask(&head, payloads, |python| {
        let mut is_ok = [0];
        python.output.read_exact(&mut is_ok).unwrap();
        let string = python.string();
        if is_ok == [1] { Ok(string) } else { Err(String::from_utf8_lossy(&string).into_owned()) }
    })
}

fn ask<T>(head: &[u32], strings: &[Vec<u8>], read: impl Fn(&mut Python) -> T) -> Vec<T> {
    // A test that failed in between has left no request half answered.
    let mut python = PYTHON.lock().unwrap_or_else(PoisonError::into_inner);
    let mut octets: Vec<u8> = head.iter().flat_map(|number| number.to_be_bytes()).collect();
    for string in strings {
        octets.extend_from_slice(&(string.len() as u32).to_be_bytes());
        octets.extend_from_slice(string);
    }
    python.input.write_all(&octets).and_then(|()| python.input.flush()).unwrap();
    strings.iter().map(|_| read(&mut python)).collect()
}

impl Python {
    fn string(&mut self) -> Vec<u8> {
        let mut len = [0; 4];
        self.output.read_exact(&mut len).unwrap();
        let mut string = vec![0; u32::from_be_bytes(len) as usize];
        self.output.read_exact(&mut string).unwrap();
        string
    }
}
