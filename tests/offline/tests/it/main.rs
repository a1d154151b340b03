//! Life without the link on a real cluster, with kubectl's view before, during and after. Cases run in order; it runs by
//! `cargo xtask test offline` (root).

mod cut;
mod identity;
mod node;
mod restore;
mod syncs;
mod transport;

use std::process::ExitCode;

use holdfast_e2e::runner::{Case, Suite};

/// In running order.
const CASES: &[Case] = &[
    ("kubectl_sees_a_cut_and_what_happened_in_it", cut::kubectl_sees_a_cut_and_what_happened_in_it),
    ("wrong_clocks_and_power_cuts_stop_no_pod", cut::wrong_clocks_and_power_cuts_stop_no_pod),
    (
        "an_agent_killed_after_each_durable_write_touches_nothing",
        syncs::an_agent_killed_after_each_durable_write_touches_nothing,
    ),
    ("certificates_are_replaced_on_the_way", identity::certificates_are_replaced_on_the_way),
    ("an_expired_certificate_is_renewed_on_return", identity::an_expired_certificate_is_renewed_on_return),
    ("without_udp_the_link_goes_over_tcp_and_comes_back", transport::without_udp_the_link_goes_over_tcp_and_comes_back),
    ("a_restored_hub_takes_back_what_it_forgot", restore::a_restored_hub_takes_back_what_it_forgot),
    ("another_address_costs_no_session", transport::another_address_costs_no_session),
];

/// Certificates live so short that they are renewed, and end, within the suite.
const HUB: &[(&str, &str)] = &[("HOLDFAST_NODE_CERTIFICATE_TTL", "60s")];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some(syncs::TRACE) {
        return syncs::trace(args);
    }
    Suite { name: "offline", cases: CASES, hub: HUB }.main()
}
