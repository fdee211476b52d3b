use super::*;

fn levels(texts: &[(&str, &str)]) -> Vec<Level> {
    let price = |t: &str| Decimal::parse(t.as_bytes()).expect(t);
    let qty = |t: &str| Decimal::parse_rounded(t.as_bytes()).expect(t);
    texts.iter().map(|(at, much)| Level { price: price(at), qty: qty(much) }).collect()
}

fn best(book: &L2Book) -> (Option<String>, Option<String>) {
    let text = |side: &Ladder| side.best_price().map(|p| book.price(p).to_string());
    (text(&book.bids), text(&book.asks))
}

fn live() -> L2Book {
    let mut book = L2Book::new();
    book.apply(true, &levels(&[("99", "1"), ("98", "1")]), &levels(&[("101", "1"), ("102", "1")]));
    book
}

#[test]
fn changes_before_the_first_snapshot_are_ignored() {
    let mut book = L2Book::new();
    assert!(!book.apply(false, &levels(&[("99", "1")]), &[]));
    assert_eq!((book.state(), book.bids.len()), (BookState::Unsynced, 0));
    assert_eq!(book.reason(), "no snapshot yet");
}

#[test]
fn a_snapshot_replaces_both_sides() {
    let mut book = live();
    book.apply(true, &levels(&[("50", "1")]), &levels(&[("51", "1")]));
    assert_eq!((book.bids.len(), book.asks.len(), book.state()), (1, 1, BookState::Live));
}

#[test]
fn a_finer_price_refines_the_grid() {
    let mut book = live();
    book.apply(false, &levels(&[("99.125", "1")]), &[]);
    assert_eq!(best(&book), (Some("99.125".into()), Some("101".into())));
}

#[test]
fn a_price_that_does_not_fit_loses_the_book_and_says_so() {
    let mut book = live();
    assert!(!book.apply(false, &levels(&[("0.000000000000000001", "1")]), &[]));
    assert_eq!(book.state(), BookState::Unsynced);
    assert!(book.reason().contains("too many digits"));
}

#[test]
fn a_message_is_atomic_so_that_crossing_inside_it_does_not_matter() {
    let mut book = live();
    book.apply(false, &levels(&[("101", "1")]), &levels(&[("101", "0")]));
    assert_eq!(best(&book), (Some("101".into()), Some("102".into())));
    assert_eq!(book.crossed_levels_pruned(), 0);
}

#[test]
fn crossed_levels_are_removed_on_the_side_that_did_not_change() {
    let mut book = live();
    book.apply(false, &[], &levels(&[("98", "1")]));
    assert_eq!((best(&book).1, book.bids.len(), book.crossed_levels_pruned()), (Some("98".into()), 0, 2));
    let mut book = live();
    book.apply(false, &levels(&[("101.5", "1")]), &[]);
    assert_eq!(best(&book), (Some("101.5".into()), Some("102".into())));
    assert_eq!(book.state(), BookState::Live);
}

#[test]
fn a_cross_that_persists_is_a_state_that_only_a_snapshot_ends() {
    let mut book = live();
    for price in ["101", "102", "103"] {
        let above = levels(&[("104", "1"), ("105", "1"), ("106", "1")]);
        book.apply(false, &levels(&[(price, "1")]), &[&levels(&[(price, "1")])[..], &above].concat());
        book.apply(false, &levels(&[]), &[]);
        assert_eq!(book.state(), BookState::Live);
    }
    for (bid, ask) in [("104", "107"), ("105", "108"), ("106", "109")] {
        book.apply(false, &levels(&[(bid, "1")]), &levels(&[(ask, "1")]));
    }
    assert_eq!(book.state(), BookState::Crossed);
    let pruned = book.crossed_levels_pruned();
    for _ in 0..10 {
        book.apply(false, &levels(&[("90", "1")]), &[]);
    }
    assert_eq!((book.state(), book.needs_snapshot()), (BookState::Crossed, true));
    assert_eq!(book.reason(), "crossed by 3 changes in a row: waiting for a snapshot");
    book.apply(false, &levels(&[("110", "1")]), &[]);
    assert!(book.crossed_levels_pruned() > pruned, "it is kept uncrossed and counted on");
    book.apply(false, &[], &levels(&[("111", "0"), ("112", "0")]));
    assert_eq!(book.state(), BookState::Crossed, "with a side empty as well");
    book.apply(true, &levels(&[("90", "1")]), &levels(&[("91", "1")]));
    assert_eq!((book.state(), book.needs_snapshot()), (BookState::Live, false));
}

#[test]
fn quantities_too_large_and_too_fine_for_one_grid_are_rounded_to_the_finest_lots_that_fit() {
    let qtys = |book: &L2Book| book.bids.iter().map(|(_, qty)| qty.to_string()).collect::<Vec<_>>();
    let mut book = L2Book::new();
    book.apply(true, &levels(&[("99", "250000000000")]), &levels(&[("101", "1")]));
    assert!(book.apply(false, &levels(&[("98", "0.12345678"), ("97", "0.00000001"), ("96", "2")]), &[]));
    assert_eq!(
        (book.state(), qtys(&book)),
        (BookState::Live, vec_of(&["250000000000", "0.1234568", "0.0000001", "2"]))
    );
    // The other way round: a quantity too large for the lots so far, and both in one snapshot.
    book.apply(true, &levels(&[("99", "0.0047677363856087895")]), &levels(&[("101", "1")]));
    assert!(book.apply(false, &levels(&[("98", "5000000000000000000")]), &[]));
    assert_eq!((book.state(), qtys(&book)), (BookState::Live, vec_of(&["1", "5000000000000000000"])));
    assert!(book.apply(true, &levels(&[("99", "0.004767736385608790"), ("98", "250.25")]), &levels(&[("101", "1")])));
    assert_eq!(qtys(&book), vec_of(&["0.0047677363856088", "250.25"]));
    let depth = book.depth();
    assert!((depth.bid_base - 250.254_767_736_385_6).abs() < 1e-9, "{depth:?}");
}

fn vec_of(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_rounded_ask_that_crosses_still_drops_the_bids() {
    let mut book = L2Book::new();
    book.apply(true, &levels(&[("99", "250000000000"), ("98", "1")]), &levels(&[("101", "1")]));
    book.apply(false, &[], &levels(&[("99", "0.12345678")]));
    assert_eq!(best(&book), (Some("98".into()), Some("99".into())));
}

#[test]
fn a_side_without_levels_cannot_be_traded_on() {
    let mut book = live();
    book.apply(false, &levels(&[("99", "0"), ("98", "0")]), &[]);
    assert_eq!((book.state(), book.reason()), (BookState::Unsynced, "no bid levels".into()));
    book.apply(false, &levels(&[("97", "1")]), &[]);
    assert_eq!(book.state(), BookState::Live);
}
