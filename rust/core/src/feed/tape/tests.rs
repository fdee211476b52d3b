use std::path::Path;
use std::time::Instant;

use super::*;
use crate::feed::config::tests::config;
use crate::replay::{Item, Merge};

fn trade(symbol: &str) -> String {
    format!(
        "{{\"type\":\"trade\",\"symbol\":\"{symbol}\",\"exchange\":\"x\",\"price\":1,\n\"amount\":2,\
         \"localTimestamp\":\"2024-01-01T00:00:00.000Z\"}}"
    )
}

fn feed_of(symbols: &[String]) -> FeedConfig {
    FeedConfig { exchange: "x".to_owned(), symbols: symbols.to_vec(), ..config() }
}

/// A folder that goes away with the test, and a recording in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("mm_core-tape-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn recording(&self, rotate_bytes: u64) -> Recording {
        Recording { folder: self.0.clone(), rotate_bytes, rotate_every: Duration::from_secs(3600) }
    }

    fn writer(&self, symbols: &[String]) -> (TapeWriter, Arc<TapeCounters>) {
        let counters = Arc::new(TapeCounters::default());
        (TapeWriter::start(&self.recording(1 << 30), &feed_of(symbols), counters.clone()).unwrap(), counters)
    }

    fn items(&self) -> Vec<Item> {
        let mut merge = Merge::open(&[self.0.to_string_lossy()]).unwrap();
        let mut items = Vec::new();
        while let Some(item) = merge.next_item().unwrap() {
            items.push(item);
        }
        items
    }

    /// Lines of the files whose names end with `ending`.
    fn lines(&self, ending: &str) -> Vec<String> {
        let paths = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<PathBuf> = paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
        paths.sort();
        let text = |path: &Path| zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
        let bytes: Vec<u8> = paths.iter().flat_map(|path| text(path)).collect();
        String::from_utf8(bytes).unwrap().lines().map(ToOwned::to_owned).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn names(symbols: &[&str]) -> Vec<String> {
    symbols.iter().map(|symbol| (*symbol).to_owned()).collect()
}

fn losses(items: &[Item]) -> Vec<&str> {
    let events = items.iter().filter_map(|item| item.event.as_ref());
    events.filter(|event| event.kind == crate::event::EventKind::Disconnect).map(|event| &*event.symbol).collect()
}

#[test]
fn what_was_recorded_is_read_back_with_its_losses() {
    let folder = Folder::new("read-back");
    let (writer, counters) = folder.writer(&names(&["S"]));
    let tape = writer.tape(&names(&["S"]));
    tape.record(trade("S").as_bytes(), Some(7));
    tape.note_loss();
    drop(tape);
    writer.finish();
    let items = folder.items();
    assert_eq!((items.len(), counters.messages(), counters.dropped(), counters.files()), (2, 1, 0, 1));
    assert_eq!(losses(&items), ["S"]);
    assert!(counters.failure().is_empty());
}

#[test]
fn a_message_that_cannot_be_decoded_is_kept_apart_and_the_rest_stays_readable() {
    let folder = Folder::new("rejected");
    let (writer, counters) = folder.writer(&names(&["S"]));
    let tape = writer.tape(&names(&["S"]));
    tape.record(trade("S").as_bytes(), Some(7));
    tape.reject(b"{\"type\":\n\"tra");
    drop(tape);
    writer.finish();
    assert_eq!((folder.items().len(), counters.messages(), counters.rejected()), (1, 1, 1));
    let lines = folder.lines(".rejected.zst");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("20") && &lines[0][27..] == "Z {\"type\": \"tra", "{lines:?}");
}

#[test]
fn white_space_before_a_message_is_no_reason_to_leave_it_out() {
    let folder = Folder::new("space");
    let (writer, counters) = folder.writer(&names(&["S"]));
    let tape = writer.tape(&names(&["S"]));
    for white in [" ", "\n", "\t \r"] {
        tape.record(format!("{white}{}", trade("S")).as_bytes(), Some(7));
    }
    drop(tape);
    writer.finish();
    assert_eq!((folder.items().len(), counters.messages()), (3, 3));
}

#[test]
fn a_lost_connection_costs_the_books_of_its_own_symbols_only() {
    let folder = Folder::new("symbols");
    let (writer, _) = folder.writer(&names(&["A", "B", "C"]));
    let (one, other) = (writer.tape(&names(&["A"])), writer.tape(&names(&["B", "C"])));
    one.record(trade("A").as_bytes(), Some(7));
    other.note_loss();
    drop((one, other));
    writer.finish();
    assert_eq!(losses(&folder.items()), ["B", "C"]);
}

#[test]
fn lines_of_several_connections_stand_in_the_order_in_which_they_came() {
    let folder = Folder::new("order");
    let (writer, _) = folder.writer(&names(&["A", "B"]));
    let (one, other) = (writer.tape(&names(&["A"])), writer.tape(&names(&["B"])));
    for i in 0..100 {
        let (tape, symbol) = if i % 2 == 0 { (&one, "A") } else { (&other, "B") };
        tape.record(trade(symbol).as_bytes(), Some(7));
        if i % 7 == 0 {
            tape.tick(Instant::now() + Duration::from_secs(1));
        }
    }
    drop((one, other));
    writer.finish();
    let lines = folder.lines(".ndjson.zst");
    assert!(lines.iter().enumerate().all(|(i, line)| line.contains(["\"A\"", "\"B\""][i % 2])), "{lines:?}");
    assert!(lines.is_sorted_by_key(|line| line[..28].to_owned()));
}

#[test]
fn a_message_is_on_disk_before_a_second_is_over() {
    let folder = Folder::new("soon");
    let (writer, counters) = folder.writer(&names(&["S"]));
    let tape = writer.tape(&names(&["S"]));
    for (number, phase_ms) in [0, 200, 400, 600, 800].into_iter().enumerate() {
        std::thread::sleep(Duration::from_millis(phase_ms));
        let recorded = Instant::now();
        tape.record(trade("S").as_bytes(), Some(7));
        while counters.messages() == number as u64 {
            std::thread::sleep(Duration::from_millis(100));
            tape.tick(Instant::now());
        }
        assert!(recorded.elapsed() < Duration::from_millis(950), "{:?}", recorded.elapsed());
    }
    drop(tape);
    writer.finish();
}

#[test]
fn a_new_file_begins_when_one_is_full() {
    let folder = Folder::new("rotate");
    let counters = Arc::new(TapeCounters::default());
    let mut files = Files::begin(folder.recording(1), "x".to_owned(), counters.clone()).unwrap();
    for _ in 0..3 {
        files.pending.lines = (trade("S").replace('\n', "") + "\n").into_bytes();
        files.pending.rejected_lines = b"? ?\n".to_vec();
        files.flush().unwrap();
    }
    assert_eq!((counters.files(), folder.items().len(), folder.lines(".rejected.zst").len()), (3, 3, 3));
}

#[test]
fn a_disk_that_stands_still_costs_messages_and_never_time_and_what_follows_begins_with_a_disconnect() {
    let counters = Arc::new(TapeCounters::default());
    let (pieces, received) = sync_channel(1);
    let roll = Roll::new(pieces, counters.clone(), &feed_of(&names(&["S", "T"])));
    let tape = Tape::new(Arc::new(Mutex::new(roll)), names(&["S"]));
    let hand_over = || tape.tick(Instant::now() + Duration::from_secs(1));
    for _ in 0..3 {
        tape.record(trade("S").as_bytes(), Some(7));
        hand_over();
    }
    assert_eq!(counters.dropped(), 2);
    assert_eq!(received.recv().unwrap().messages, 1);
    tape.record(trade("S").as_bytes(), Some(7));
    hand_over();
    let piece = received.recv().unwrap();
    let lines = String::from_utf8(piece.lines).unwrap();
    assert_eq!((piece.messages, lines.lines().count()), (1, 2));
    assert!(lines[29..].starts_with(r#"{"type":"disconnect","exchange":"x","symbols":["S","T"]"#), "{lines}");
}

#[test]
fn messages_are_those_on_disk_and_all_others_are_dropped_once_it_fails() {
    let folder = Folder::new("fail");
    let counters = Arc::new(TapeCounters::default());
    let files = Files::begin(folder.recording(0), "x".to_owned(), counters.clone()).unwrap();
    let (pieces, received) = sync_channel(MAX_PIECES);
    // Every flush begins a new file, and there is no folder for it any more.
    std::fs::remove_dir_all(&folder.0).unwrap();
    let thread = std::thread::spawn(move || files.write_all(&received));
    let piece = || Piece { lines: b"? ?\n".to_vec(), messages: 2, rejected: 1, ..Piece::default() };
    pieces.send(piece()).unwrap();
    while counters.failure().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    pieces.send(piece()).unwrap();
    drop(pieces);
    thread.join().unwrap();
    assert_eq!((counters.messages(), counters.rejected(), counters.dropped()), (0, 0, 6));
}

#[test]
fn what_a_full_disk_took_of_a_frame_is_taken_back() {
    use std::io::Write as _;
    let folder = Folder::new("full");
    let mut files = Files::begin(folder.recording(1 << 30), "x".to_owned(), Arc::default()).unwrap();
    let path = std::fs::read_dir(&folder.0).unwrap().next().unwrap().unwrap().path();
    files.pending.lines.extend_from_slice(trade("S").as_bytes());
    files.flush().unwrap();
    let whole = std::fs::read(&path).unwrap();
    // A part of the next frame arrives, then the disk is full; what cannot be written to stands for it.
    files.market.file.write_all(b"part").unwrap();
    assert!(files.market.take_back_after(std::io::Error::other("full")).to_string().contains("full"));
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

#[test]
fn a_replay_waits_for_a_disk_that_stands_still_and_loses_nothing() {
    let counters = Arc::new(TapeCounters::default());
    let (pieces, received) = sync_channel(1);
    let replay = FeedConfig { replay: Some(crate::feed::history::tests::hour()), ..feed_of(&names(&["S"])) };
    let tape = Tape::new(Arc::new(Mutex::new(Roll::new(pieces, counters.clone(), &replay))), names(&["S"]));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..5 {
                tape.record(trade("S").as_bytes(), Some(7));
                tape.tick(Instant::now() + Duration::from_secs(1));
            }
        });
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(received.iter().map(|piece| piece.messages).sum::<u64>(), 5);
    });
    assert_eq!(counters.dropped(), 0);
}
