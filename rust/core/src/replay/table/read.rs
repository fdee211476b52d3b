//! A table back into events, block by block.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::Block;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::root_as_footer;

use super::grid::Grid;
use super::rows::{Change, Grids, Rows};
use super::schema::{
    BOOK, BlockSummary, DISCONNECT, LIQUIDATION, MESSAGE, SUMMARY_CRC_KEY, SUMMARY_KEY, Summary, TRADE, VERSION, schema,
};
use crate::decode::{Decoder, Message};
use crate::error::{Error, Result};
use crate::event::{Event, EventKind};
use crate::types::Ns;

/// First bytes of an Arrow IPC file.
pub(in crate::replay) const MAGIC: &[u8] = b"ARROW1";

/// What is wrong with an Arrow file that is none of ours.
const FOREIGN: &str = "an Arrow file, but not one made by `mm-hybrid convert`: its footer has no summary of the market";

/// Length of the footer's length and the closing magic.
const TRAILER_BYTES: u64 = 10;

/// Blocks that wait, read and checked, while one is worked on.
const BLOCKS_AHEAD: usize = 1;

/// Reads one table in the memory of three blocks: one in use, one waiting, one being read by a thread of its own. A block
/// takes what it takes in the file, and 16 bytes a row and 24 a message more.
pub(in crate::replay) struct TableReader {
    path: String,
    file: Arc<File>,
    footer: Arc<Footer>,
    /// The blocks from the first on; `None` before it is asked for.
    ahead: Option<Receiver<std::result::Result<Rows, String>>>,
    exchange: Arc<str>,
    symbol: Arc<str>,
    no_symbol: Arc<str>,
    grids: Grids,
    decoder: Decoder,
    /// Index of the block to read next.
    next_block: usize,
    rows: Option<Rows>,
}

struct Footer {
    decoder: FileDecoder,
    blocks: Vec<Block>,
    summary: Summary,
}

impl TableReader {
    /// Opens a table and checks its footer.
    pub(in crate::replay) fn open(path: &str) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        let footer = guarded(|| read_footer(&file)).map_err(|reason| match reason.as_str() {
            FOREIGN => Error::NoMarketData { path: path.to_owned(), reason },
            _ => Error::Decode { place: path.to_owned(), reason },
        })?;
        let summary = &footer.summary;
        let grid = |decimals| {
            let reason = format!("its numbers have {decimals} digits after the point, more than 18");
            Grid::new(decimals).ok_or(Error::Decode { place: path.to_owned(), reason })
        };
        Ok(Self {
            path: path.to_owned(),
            exchange: summary.exchange.as_str().into(),
            symbol: summary.symbol.as_str().into(),
            no_symbol: "".into(),
            grids: Grids { price: grid(summary.price_decimals)?, qty: grid(summary.qty_decimals)? },
            decoder: Decoder::new(),
            ahead: None,
            next_block: 0,
            rows: None,
            file: Arc::new(file),
            footer: Arc::new(footer),
        })
    }

    /// Exchange and symbol of every event.
    pub(in crate::replay) fn market(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.exchange), Arc::clone(&self.symbol))
    }

    /// Local time of the first and the last message; `None` for an empty table.
    pub(in crate::replay) fn span(&self) -> Option<(Ns, Ns)> {
        let mut blocks = self.footer.summary.blocks.iter().filter(|block| block.rows > 0);
        let first = blocks.next()?;
        Some((first.first_local_ts_ns, blocks.next_back().unwrap_or(first).last_local_ts_ns))
    }

    /// Bytes read and bytes there are.
    pub(in crate::replay) fn progress(&self) -> (u64, u64) {
        let size = |blocks: &[Block]| blocks.iter().map(|block| block_bytes(block).unwrap_or(0) as u64).sum();
        (size(&self.footer.blocks[..self.next_block]), size(&self.footer.blocks))
    }

    /// Goes to the next message; `false` at the end.
    pub(in crate::replay) fn advance(&mut self) -> Result<bool> {
        while !self.rows.as_mut().is_some_and(Rows::advance) {
            if !self.read_block()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Exchange and local time of the message that [`TableReader::advance`] went to.
    #[inline]
    pub(in crate::replay) fn times(&self) -> (Ns, Ns) {
        self.rows.as_ref().map_or((0, 0), Rows::times)
    }

    /// The message, if it is a book change of numbers as most tables hold them; what is none can be read as an event.
    #[inline]
    pub(in crate::replay) fn change(&self) -> Option<Change<'_>> {
        self.rows.as_ref().and_then(Rows::change)
    }

    /// The next message, put into `event`, whose level vectors are used again; `false` at the end.
    pub(in crate::replay) fn next_into(&mut self, event: &mut Event) -> Result<bool> {
        let more = self.advance()?;
        if more {
            self.read_into(event)?;
        }
        Ok(more)
    }

    /// Puts the message that [`TableReader::advance`] went to into `event`, whose level vectors are used again.
    pub(in crate::replay) fn read_into(&mut self, event: &mut Event) -> Result<()> {
        let Some(rows) = &self.rows else { return Ok(()) };
        (event.exchange_ts_ns, event.local_ts_ns) = rows.times();
        if !Arc::ptr_eq(&event.exchange, &self.exchange) {
            event.exchange = Arc::clone(&self.exchange);
        }
        if !Arc::ptr_eq(&event.symbol, &self.symbol) {
            event.symbol = Arc::clone(&self.symbol);
        }
        let understood = match rows.kind() {
            BOOK => {
                rows.read_change(&mut event.kind);
                true
            }
            DISCONNECT => {
                if rows.text().is_none() {
                    event.symbol = Arc::clone(&self.no_symbol);
                }
                event.kind = EventKind::Disconnect;
                true
            }
            TRADE | LIQUIDATION => {
                event.kind = rows.print();
                true
            }
            MESSAGE => match self.decoder.decode(rows.text().unwrap_or_default().as_bytes()) {
                Ok(Message::Event(decoded)) => {
                    // The columns keep nanoseconds, the text does not.
                    let (exchange_ts_ns, local_ts_ns) = (event.exchange_ts_ns, event.local_ts_ns);
                    *event = Event { exchange_ts_ns, local_ts_ns, ..decoded };
                    true
                }
                _ => false,
            },
            _ => false,
        };
        if understood {
            return Ok(());
        }
        let reason = format!("row {} holds no message this version understands", rows.row());
        Err(Error::Decode { place: self.place(self.next_block - 1), reason })
    }

    fn read_block(&mut self) -> Result<bool> {
        self.rows = None;
        if self.next_block == self.footer.blocks.len() {
            return Ok(false);
        }
        let index = self.next_block;
        self.next_block += 1;
        let ahead = match &self.ahead {
            Some(ahead) => ahead,
            None => self.ahead.insert(self.read_ahead()?),
        };
        let rows = ahead.recv().unwrap_or_else(|_error| Err("the thread that reads it has died".to_owned()));
        self.rows = Some(rows.map_err(|reason| Error::Decode { place: self.place(index), reason })?);
        Ok(true)
    }

    /// Starts to read and check the blocks; ends with the receiver.
    fn read_ahead(&self) -> Result<Receiver<std::result::Result<Rows, String>>> {
        let (blocks, ahead) = sync_channel(BLOCKS_AHEAD);
        let (file, footer, grids) = (Arc::clone(&self.file), Arc::clone(&self.footer), self.grids);
        let read = move || {
            for (block, wanted) in footer.blocks.iter().zip(&footer.summary.blocks) {
                let batch = || read_batch(&file, block, wanted, &footer.decoder);
                let rows = guarded(|| batch().and_then(|batch| Rows::of(&batch, wanted.rows, grids)));
                if blocks.send(rows).is_err() {
                    return;
                }
            }
        };
        let started = thread::Builder::new().name("mm-table".to_owned()).spawn(read);
        started.map_err(|source| Error::File { path: self.path.clone(), source })?;
        Ok(ahead)
    }

    /// `path: block 3 of 9, rows from .. to ..`, for messages.
    fn place(&self, index: usize) -> String {
        let blocks = &self.footer.summary.blocks;
        let first: u64 = blocks[..index].iter().map(|block| block.rows).sum();
        format!("{}: block {index} of {} (rows {first} to {})", self.path, blocks.len(), first + blocks[index].rows)
    }
}

fn read_footer(file: &File) -> std::result::Result<Footer, String> {
    let cut = |()| "the end of the file is missing: convert it again".to_owned();
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut trailer = [0; TRAILER_BYTES as usize];
    let trailer_at = length.checked_sub(TRAILER_BYTES).ok_or("the file is too short for a table")?;
    file.read_exact_at(&mut trailer, trailer_at).map_err(|error| error.to_string())?;
    let footer_bytes = read_footer_length(trailer).map_err(|_error| cut(()))? as u64;
    let footer_at = trailer_at.checked_sub(footer_bytes).ok_or_else(|| cut(()))?;
    let mut bytes = vec![0; footer_bytes as usize];
    file.read_exact_at(&mut bytes, footer_at).map_err(|error| error.to_string())?;
    let footer = root_as_footer(&bytes).map_err(|error| format!("the footer is damaged: {error}"))?;
    let text = |wanted: &str| {
        let pairs = footer.custom_metadata().into_iter().flatten();
        pairs.filter(|pair| pair.key() == Some(wanted)).find_map(|pair| pair.value().map(ToOwned::to_owned))
    };
    let (summary, crc) = text(SUMMARY_KEY).zip(text(SUMMARY_CRC_KEY)).ok_or(FOREIGN)?;
    if crc.parse() != Ok(crc32fast::hash(summary.as_bytes())) {
        return Err("the footer is damaged: its checksum does not match; convert it again".to_owned());
    }
    let summary: Summary = serde_json::from_str(&summary).map_err(|error| format!("the footer is damaged: {error}"))?;
    if summary.version != VERSION {
        return Err(format!("layout version {} is not {VERSION}: convert it again", summary.version));
    }
    let blocks: Vec<Block> = footer.recordBatches().into_iter().flatten().copied().collect();
    let found = footer.schema().map(fb_to_schema).ok_or("the footer holds no schema")?;
    if blocks.len() != summary.blocks.len() || found.fields() != schema().fields() {
        return Err("the footer does not fit its summary: convert it again".to_owned());
    }
    check_dictionaries(file, &footer, &blocks, &summary)?;
    let mut decoder = FileDecoder::new(Arc::new(found), footer.version());
    for block in footer.dictionaries().into_iter().flatten() {
        let data = read_bytes(file, block).map_err(|error| format!("the dictionaries: {error}"))?;
        decoder.read_dictionary(block, &data).map_err(|error| format!("the dictionaries are damaged: {error}"))?;
    }
    Ok(Footer { decoder, blocks, summary })
}

/// Runs a part of the Arrow reader, which panics at some kinds of damage that its own checks let pass.
fn guarded<T>(read: impl FnOnce() -> std::result::Result<T, String>) -> std::result::Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_panic| Err("the table is damaged: convert it again".to_owned()))
}

/// Compares the checksum of the first block, which has no rows and covers the dictionaries before it.
fn check_dictionaries(
    file: &File,
    footer: &arrow_ipc::Footer<'_>,
    blocks: &[Block],
    summary: &Summary,
) -> std::result::Result<(), String> {
    let Some((block, wanted)) = blocks.first().zip(summary.blocks.first()).filter(|(_, wanted)| wanted.rows == 0)
    else {
        return Err("the footer names no dictionaries: convert it again".to_owned());
    };
    let dictionaries = footer.dictionaries().into_iter().flatten();
    let start = dictionaries.map(Block::offset).min().unwrap_or(block.offset()).min(block.offset());
    let bytes = block_bytes(block).and_then(|bytes| i64::try_from(bytes).ok());
    let end = bytes.and_then(|bytes| block.offset().checked_add(bytes)).ok_or("the dictionaries lie nowhere")?;
    let data = read_bytes(file, &Block::new(start, 0, end.saturating_sub(start)))
        .map_err(|error| format!("the dictionaries: {error}"))?;
    if crc32fast::hash(&data) == wanted.crc32 {
        return Ok(());
    }
    Err("the dictionaries are damaged, their checksum does not match: convert it again".to_owned())
}

fn block_bytes(block: &Block) -> Option<usize> {
    usize::try_from(block.metaDataLength()).ok()?.checked_add(usize::try_from(block.bodyLength()).ok()?)
}

fn read_bytes(file: &File, block: &Block) -> std::result::Result<Buffer, String> {
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let place = block_bytes(block).zip(u64::try_from(block.offset()).ok());
    let (bytes, offset) = place
        .filter(|(bytes, offset)| offset.checked_add(*bytes as u64).is_some_and(|end| end <= length))
        .ok_or("it lies outside the file: convert it again")?;
    let mut data = Vec::with_capacity(bytes);
    // Only one thread at a time reads a file opened for one table: the place in it is nobody else's.
    let mut part = file;
    part.seek(SeekFrom::Start(offset)).map_err(|error| error.to_string())?;
    part.take(bytes as u64).read_to_end(&mut data).map_err(|error| error.to_string())?;
    if data.len() == bytes { Ok(data.into()) } else { Err("the file became shorter while it was read".to_owned()) }
}

fn read_batch(
    file: &File,
    block: &Block,
    wanted: &BlockSummary,
    decoder: &FileDecoder,
) -> std::result::Result<RecordBatch, String> {
    let data = read_bytes(file, block)?;
    // The first block has no rows; its checksum covers the dictionaries before it as well.
    if wanted.rows > 0 && crc32fast::hash(&data) != wanted.crc32 {
        return Err("the checksum does not match, the block is damaged: convert it again".to_owned());
    }
    let batch = decoder.read_record_batch(block, &data).map_err(|error| error.to_string())?;
    batch.ok_or_else(|| "it holds no rows".to_owned())
}
