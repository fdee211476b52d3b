//! Where the last whole frame of a zstd file ends.
//!
//! Source: RFC 8878, sections 3.1.1.1 (frame header), 3.1.1.2 (blocks) and 3.1.2 (skippable frames). Nothing is
//! decompressed: every block says how long it is.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;

use memchr::memmem;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Bytes that tell that a file is zstd.
pub(super) const MAGIC_BYTES: usize = MAGIC.len();

/// Whether a file that begins with `head` is zstd: its first frame may be one that decoders pass over.
pub(super) fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(&MAGIC) || is_skippable(head)
}

fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// Whether a frame may begin like this; fewer bytes than a magic number say less.
fn may_be_magic(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
        || MAGIC.starts_with(head)
        || matches!(head, [0x50..=0x5f] | [0x50..=0x5f, 0x2a] | [0x50..=0x5f, 0x2a, 0x4d])
}

/// Magic and longest frame header.
const MAX_HEADER_BYTES: u64 = 18;

/// More than a frame that was being written can have: it is read to see that no other one begins in it.
const MAX_TAIL_BYTES: u64 = 1 << 28;

/// Length of the whole frames of a file whose last frame is cut off by the end of the file.
///
/// `None` for a file that ends where a frame ends, and for one whose fault is another: what lies in the way is damage,
/// unless it is the end of the file.
pub(super) fn whole_frames(file: &File, length: u64) -> Result<Option<u64>> {
    let mut whole = 0;
    loop {
        match frame_end(file, whole, length)? {
            Frame::Whole(end) if end == length => return Ok(None),
            Frame::Whole(end) => whole = end,
            Frame::Cut => break,
            Frame::Damaged => return Ok(None),
        }
    }
    // A damaged length in the middle may lead past the end as well, but then there are frames after it.
    if length - whole > MAX_TAIL_BYTES {
        return Ok(None);
    }
    let mut tail = vec![0; (length - whole) as usize];
    file.read_exact_at(&mut tail, whole)?;
    let has_more = memmem::find(tail.get(1..).unwrap_or_default(), &MAGIC).is_some();
    Ok((!has_more).then_some(whole))
}

enum Frame {
    /// Where the next one begins.
    Whole(u64),
    Cut,
    Damaged,
}

fn frame_end(file: &File, start: u64, length: u64) -> Result<Frame> {
    let mut header = [0; MAX_HEADER_BYTES as usize];
    let known = (length - start).min(MAX_HEADER_BYTES) as usize;
    file.read_exact_at(&mut header[..known], start)?;
    let head = &header[..known];
    if is_skippable(head) {
        let [_, _, _, _, size @ ..] = header.first_chunk::<8>().copied().unwrap_or_default();
        let end = start + 8 + u64::from(u32::from_le_bytes(size));
        return Ok(if known < 8 || end > length { Frame::Cut } else { Frame::Whole(end) });
    }
    if !may_be_magic(head) {
        return Ok(Frame::Damaged);
    }
    if known < 5 {
        return Ok(Frame::Cut);
    }
    let descriptor = header[4];
    let is_single_segment = descriptor & 0x20 != 0;
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size_bytes = match descriptor >> 6 {
        0 => u64::from(is_single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let mut at = start + 5 + u64::from(!is_single_segment) + dictionary_bytes + size_bytes;
    loop {
        let mut block = [0; 3];
        if at + 3 > length {
            return Ok(Frame::Cut);
        }
        file.read_exact_at(&mut block, at)?;
        let header = u64::from(block[0]) | u64::from(block[1]) << 8 | u64::from(block[2]) << 16;
        let size = match header >> 1 & 3 {
            0 | 2 => header >> 3,
            1 => 1,
            _ => return Ok(Frame::Damaged),
        };
        at += 3 + size;
        if header & 1 != 0 {
            break;
        }
    }
    let end = at + if descriptor & 4 == 0 { 0 } else { 4 };
    Ok(if end > length { Frame::Cut } else { Frame::Whole(end) })
}
