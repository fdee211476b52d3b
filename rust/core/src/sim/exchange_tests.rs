//! Specification of the matching rules.

use proptest::prelude::*;

use super::*;
use crate::event::Level;

const EXCHANGE: &str = "bybit";
const SYMBOL: &str = "BTCUSDT";

fn dec(text: &str) -> Decimal {
    Decimal::parse(text.as_bytes()).unwrap()
}

fn levels(levels: &[(&str, &str)]) -> Vec<Level> {
    levels.iter().map(|(price, qty)| Level { price: dec(price), qty: dec(qty) }).collect()
}

fn event(kind: EventKind) -> Event {
    Event { exchange: EXCHANGE.into(), symbol: SYMBOL.into(), exchange_ts_ns: 5, local_ts_ns: 7, kind }
}

fn book(is_snapshot: bool, bids: &[(&str, &str)], asks: &[(&str, &str)]) -> Event {
    event(EventKind::BookChange { is_snapshot, bids: levels(bids), asks: levels(asks) })
}

fn print(price: &str, qty: &str, side: Option<Side>) -> Event {
    event(EventKind::Trade { id: Some("t1".into()), price: dec(price), qty: dec(qty), side })
}

fn limit(id: &str, side: Side, price: &str, qty: &str) -> NewOrder {
    NewOrder { id: id.into(), side, price: Some(dec(price)), qty: dec(qty), post_only: true, ioc: false }
}

/// Bids 100.0 x 2, 99.9 x 3; asks 100.1 x 1, 100.2 x 4; tick 0.1, lot 0.1.
fn exchange() -> SimExchange {
    let mut sim = SimExchange::new(EXCHANGE, SYMBOL, dec("0.1"), dec("0.1")).unwrap();
    let snapshot = book(true, &[("99.9", "3"), ("100", "2")], &[("100.2", "4"), ("100.1", "1")]);
    assert!(apply(&mut sim, &snapshot).is_empty());
    sim
}

fn apply(sim: &mut SimExchange, event: &Event) -> Vec<(String, String)> {
    let mut fills = Vec::new();
    sim.apply(event, &mut fills);
    summary(&fills)
}

fn place(sim: &mut SimExchange, order: &NewOrder) -> (Status, Vec<(String, String)>) {
    let mut fills = Vec::new();
    let status = sim.place(order, 9, &mut fills).unwrap();
    (status, summary(&fills))
}

fn amend(sim: &mut SimExchange, id: &str, price: Option<&str>, qty: Option<&str>) -> Status {
    sim.amend(id, price.map(dec), qty.map(dec), 9, &mut Vec::new()).unwrap()
}

fn summary(fills: &[Execution]) -> Vec<(String, String)> {
    fills.iter().map(|fill| (format!("{}@{}", fill.order_id, fill.price), fill.qty.to_string())).collect()
}

fn filled(id_at_price: &str, qty: &str) -> (String, String) {
    (id_at_price.into(), qty.into())
}

fn ahead(sim: &SimExchange, id: &str) -> String {
    sim.qty_grid().value(sim.orders().get(id).unwrap().ahead_lots).to_string()
}

#[test]
fn an_order_fills_at_its_price_only_after_the_quantity_ahead_traded() {
    let mut sim = exchange();
    assert_eq!(place(&mut sim, &limit("a", Side::Buy, "100", "1")), (Status::Open, vec![]));
    assert!(apply(&mut sim, &print("100", "1.5", Some(Side::Sell))).is_empty());
    assert_eq!(apply(&mut sim, &print("100", "0.8", Some(Side::Sell))), [filled("a@100", "0.3")]);
}

#[test]
fn a_print_through_the_price_fills_at_once_at_our_price() {
    let mut sim = exchange();
    place(&mut sim, &limit("a", Side::Buy, "100", "1"));
    assert_eq!(apply(&mut sim, &print("99.9", "0.6", Some(Side::Sell))), [filled("a@100", "0.6")]);
    assert_eq!(ahead(&sim, "a"), "0");
    place(&mut sim, &limit("s", Side::Sell, "100.1", "0.2"));
    assert_eq!(apply(&mut sim, &print("100.2", "5", Some(Side::Buy))), [filled("s@100.1", "0.2")]);
}

#[test]
fn a_print_of_the_other_taker_side_does_not_fill() {
    let mut sim = exchange();
    place(&mut sim, &limit("a", Side::Buy, "100", "1"));
    assert!(apply(&mut sim, &print("99.9", "9", Some(Side::Buy))).is_empty());
}

#[test]
fn a_print_without_side_fills_either_side_by_price_but_never_more_than_its_size() {
    let mut sim = exchange();
    place(&mut sim, &limit("b", Side::Buy, "100", "1"));
    place(&mut sim, &limit("s", Side::Sell, "100.1", "1"));
    assert_eq!(apply(&mut sim, &print("99.9", "0.4", None)), [filled("b@100", "0.4")]);
    assert_eq!(apply(&mut sim, &print("100.2", "0.5", None)), [filled("s@100.1", "0.5")]);
}

#[test]
fn own_orders_share_one_print_in_price_time_order() {
    let mut sim = exchange();
    place(&mut sim, &limit("late", Side::Buy, "99.8", "1"));
    place(&mut sim, &limit("first", Side::Buy, "99.9", "1"));
    place(&mut sim, &limit("second", Side::Buy, "99.9", "1"));
    let fills = apply(&mut sim, &print("99.7", "1.5", Some(Side::Sell)));
    assert_eq!(fills, [filled("first@99.9", "1"), filled("second@99.9", "0.5")]);
}

#[test]
fn a_fill_of_exactly_what_is_open_leaves_no_order() {
    let mut sim = exchange();
    place(&mut sim, &limit("a", Side::Buy, "100", "1"));
    assert_eq!(apply(&mut sim, &print("100", "3", Some(Side::Sell))), [filled("a@100", "1")]);
    assert_eq!(sim.orders().iter().count(), 0);
    assert!(!sim.cancel("a"));
}

#[test]
fn the_quantity_ahead_never_exceeds_what_is_displayed() {
    let mut sim = exchange();
    place(&mut sim, &limit("a", Side::Buy, "100", "1"));
    apply(&mut sim, &book(false, &[("100", "0.5")], &[]));
    assert_eq!(ahead(&sim, "a"), "0.5");
    apply(&mut sim, &book(false, &[("100", "7")], &[]));
    assert_eq!(ahead(&sim, "a"), "0.5");
    apply(&mut sim, &book(true, &[("99.9", "1")], &[("100.1", "1")]));
    assert_eq!(ahead(&sim, "a"), "0");
}

#[test]
fn amending_down_keeps_the_place_in_the_queue_and_up_or_away_loses_it() {
    let mut sim = exchange();
    place(&mut sim, &limit("a", Side::Buy, "100", "1"));
    apply(&mut sim, &print("100", "1.5", Some(Side::Sell)));
    assert_eq!(amend(&mut sim, "a", None, Some("0.5")), Status::Open);
    assert_eq!(ahead(&sim, "a"), "0.5");
    assert_eq!(amend(&mut sim, "a", Some("100"), Some("0.6")), Status::Open);
    assert_eq!(ahead(&sim, "a"), "2");
    assert_eq!(amend(&mut sim, "a", Some("99.9"), None), Status::Open);
    assert_eq!(ahead(&sim, "a"), "3");
}

#[test]
fn an_amended_quantity_is_the_total_with_what_is_filled() {
    let mut sim = exchange();
    place(&mut sim, &limit("a", Side::Buy, "100", "1"));
    apply(&mut sim, &print("99.9", "0.6", Some(Side::Sell)));
    assert!(sim.amend("a", None, Some(dec("0.6")), 9, &mut Vec::new()).is_err());
    assert_eq!(amend(&mut sim, "a", None, Some("0.8")), Status::Open);
    assert_eq!(sim.orders().get("a").unwrap().open_lots, 2);
    assert_eq!(amend(&mut sim, "nobody", None, Some("0.8")), Status::Unknown);
}

#[test]
fn a_post_only_order_that_would_take_is_canceled() {
    let mut sim = exchange();
    assert_eq!(place(&mut sim, &limit("a", Side::Buy, "100.1", "1")), (Status::Canceled, vec![]));
    place(&mut sim, &limit("b", Side::Sell, "100.2", "1"));
    assert_eq!(amend(&mut sim, "b", Some("100"), None), Status::Canceled);
    assert_eq!(sim.orders().iter().count(), 0);
}

#[test]
fn a_taker_meets_the_displayed_levels_and_rests_or_cancels_the_remainder() {
    let mut sim = exchange();
    let taker = |id: &str, price: Option<&str>, qty: &str, ioc| NewOrder {
        price: price.map(dec),
        post_only: false,
        ioc,
        ..limit(id, Side::Buy, "1", qty)
    };
    let (status, fills) = place(&mut sim, &taker("a", Some("100.1"), "3", false));
    assert_eq!((status, fills), (Status::Open, vec![filled("a@100.1", "1")]));
    assert_eq!(sim.orders().get("a").unwrap().open_lots, 20);
    let (status, fills) = place(&mut sim, &taker("b", Some("100.2"), "9", true));
    assert_eq!((status, fills), (Status::Canceled, vec![filled("b@100.1", "1"), filled("b@100.2", "4")]));
    let (status, fills) = place(&mut sim, &taker("c", None, "1", false));
    assert_eq!((status, fills), (Status::Filled, vec![filled("c@100.1", "1")]));
    assert_eq!(place(&mut sim, &taker("d", None, "50", false)).0, Status::Canceled);
}

#[test]
fn without_a_book_orders_are_refused_and_prints_ignored() {
    let mut sim = SimExchange::new(EXCHANGE, SYMBOL, dec("0.1"), dec("0.1")).unwrap();
    assert!(apply(&mut sim, &print("100", "1", Some(Side::Sell))).is_empty());
    apply(&mut sim, &book(false, &[("100", "1")], &[]));
    assert_eq!(place(&mut sim, &limit("a", Side::Buy, "100", "1")), (Status::Unsynced, vec![]));
}

#[test]
fn a_disconnect_refuses_new_prices_but_keeps_what_rests() {
    let mut sim = exchange();
    place(&mut sim, &limit("a", Side::Buy, "100", "1"));
    apply(&mut sim, &Event { symbol: "".into(), ..event(EventKind::Disconnect) });
    assert_eq!(sim.best(Side::Buy), None);
    assert_eq!(amend(&mut sim, "a", Some("99"), None), Status::Unsynced);
    assert_eq!(amend(&mut sim, "a", None, Some("0.5")), Status::Open);
    assert!(sim.cancel("a"));
}

#[test]
fn orders_off_the_grid_and_ids_in_use_are_refused() {
    let mut sim = exchange();
    place(&mut sim, &limit("a", Side::Buy, "100", "1"));
    for order in [
        limit("a", Side::Buy, "99", "1"),
        limit("b", Side::Buy, "99.95", "1"),
        limit("b", Side::Buy, "99", "0.05"),
        limit("b", Side::Buy, "99", "0"),
        NewOrder { price: None, ..limit("b", Side::Buy, "99", "1") },
    ] {
        assert!(sim.place(&order, 9, &mut Vec::new()).is_err(), "{order:?}");
    }
}

#[test]
fn events_of_other_symbols_and_exchanges_change_nothing() {
    let mut sim = exchange();
    place(&mut sim, &limit("a", Side::Buy, "100", "1"));
    let through = print("90", "9", Some(Side::Sell));
    assert!(apply(&mut sim, &Event { symbol: "ETHUSDT".into(), ..through.clone() }).is_empty());
    assert!(apply(&mut sim, &Event { exchange: "bitget".into(), ..through }).is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Place { buy: bool, tick: i64, lots: i64, post_only: bool },
    Amend { nth: usize, tick: i64, lots: i64 },
    Cancel { nth: usize },
    Print { tick: i64, lots: i64, side: Option<bool> },
    Level { bid: bool, tick: i64, lots: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let tick = 990i64..1010;
    prop_oneof![
        4 => (any::<bool>(), tick.clone(), 1i64..30, any::<bool>())
            .prop_map(|(buy, tick, lots, post_only)| Step::Place { buy, tick, lots, post_only }),
        2 => (0usize..8, tick.clone(), 1i64..40).prop_map(|(nth, tick, lots)| Step::Amend { nth, tick, lots }),
        1 => (0usize..8).prop_map(|nth| Step::Cancel { nth }),
        6 => (tick, 1i64..40, proptest::option::of(any::<bool>()))
            .prop_map(|(tick, lots, side)| Step::Print { tick, lots, side }),
        4 => (any::<bool>(), 990i64..1010, 0i64..30).prop_map(|(bid, tick, lots)| Step::Level { bid, tick, lots }),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_events_and_requests_breaks_the_rules(steps in proptest::collection::vec(step(), 1..120)) {
        let mut sim = exchange();
        let tick = |ticks: i64| Decimal::new(ticks, 1);
        let (mut next_id, mut total_filled) = (0u32, std::collections::HashMap::<String, i64>::new());
        for step in steps {
            let nth_id = |sim: &SimExchange, nth: usize| sim.orders().iter().nth(nth).map(|o| o.id.to_string());
            let before: Vec<Resting> = sim.orders().iter().cloned().collect();
            let mut fills = Vec::new();
            let mut print_lots = None;
            match step {
                Step::Place { buy, tick: at, lots, post_only } => {
                    next_id += 1;
                    let side = if buy { Side::Buy } else { Side::Sell };
                    let order = NewOrder {
                        id: format!("o{next_id}").into(), side, price: Some(tick(at)), qty: tick(lots), post_only,
                        ioc: false,
                    };
                    sim.place(&order, 1, &mut fills).unwrap();
                }
                Step::Amend { nth, tick: at, lots } => if let Some(id) = nth_id(&sim, nth) {
                    let _ = sim.amend(&id, Some(tick(at)), Some(tick(lots)), 1, &mut fills);
                },
                Step::Cancel { nth } => if let Some(id) = nth_id(&sim, nth) {
                    prop_assert!(sim.cancel(&id));
                },
                Step::Print { tick: at, lots, side } => {
                    print_lots = Some((at, lots));
                    let side = side.map(|buy| if buy { Side::Buy } else { Side::Sell });
                    let kind = EventKind::Trade { id: None, price: tick(at), qty: tick(lots), side };
                    sim.apply(&event(kind), &mut fills);
                }
                Step::Level { bid, tick: at, lots } => {
                    let level = vec![Level { price: tick(at), qty: tick(lots) }];
                    let (bids, asks) = if bid { (level, vec![]) } else { (vec![], level) };
                    sim.apply(&event(EventKind::BookChange { is_snapshot: false, bids, asks }), &mut fills);
                    prop_assert!(fills.is_empty());
                }
            }
            if let Some((at, lots)) = print_lots {
                let taken: i64 = fills.iter().map(|fill| fill.qty.rescaled(1).unwrap()).sum();
                prop_assert!(taken <= lots, "{taken} of a print of {lots}");
                for fill in &fills {
                    let order = before.iter().find(|o| o.id == fill.order_id).unwrap();
                    prop_assert_eq!(fill.price.rescaled(1), Some(order.price_ticks));
                    if at == order.price_ticks {
                        prop_assert!(lots > order.ahead_lots, "filled before the queue ahead traded");
                    }
                }
            }
            for fill in &fills {
                *total_filled.entry(fill.order_id.to_string()).or_default() += fill.qty.rescaled(1).unwrap();
            }
            for order in sim.orders().iter() {
                prop_assert!(order.open_lots > 0);
                prop_assert!(order.ahead_lots <= sim.book().qty_at(order.side, order.price_ticks)
                    || print_lots.is_some());
                prop_assert_eq!(order.filled_lots, total_filled.get(&*order.id).copied().unwrap_or(0));
            }
            for side in [Side::Buy, Side::Sell] {
                let prices: Vec<i64> =
                    sim.orders().iter().filter(|o| o.side == side).map(|o| o.price_ticks).collect();
                let best_first = prices.is_sorted_by(|a, b| if side == Side::Buy { a >= b } else { a <= b });
                prop_assert!(best_first);
            }
        }
    }
}
