//! The whole system as a user runs it: `cargo xtask up`, kubectl, faults, `cargo xtask down`, with real programs in
//! real namespaces. Cases run in order on one cluster; a failed one prints the cluster's state, and the next runs.
//!
//! It runs by `cargo xtask test e2e` (root). Under a plain `cargo test` it says so and passes, because that must
//! work without root and start no second cluster.

mod bad_input;
mod day;
mod faults;
mod join;
mod network;
mod node;
mod runtimes;
mod second;
mod static_pods;
mod streams;
mod surface;
mod verbs;

use std::process::ExitCode;

use holdfast_e2e::runner::{Case, Suite};

/// In running order. The cases of `day` are the run that the README promises, step by step.
const CASES: &[Case] = &[
    ("programs_have_the_flags_of_their_units", surface::programs_have_the_flags_of_their_units),
    ("nodes_are_ready_and_described", day::nodes_are_ready_and_described),
    ("examples_are_listed_in_full", day::examples_are_listed_in_full),
    ("services_answer_on_every_node", day::services_answer_on_every_node),
    ("logs_of_both_runtimes", day::logs_of_both_runtimes),
    ("pods_find_services_by_name", network::pods_find_services_by_name),
    ("pods_reach_the_api_with_their_token", network::pods_reach_the_api_with_their_token),
    ("a_node_port_answers_the_machine_outside", network::a_node_port_answers_the_machine_outside),
    ("exec_passes_output_and_exit_code", day::exec_passes_output_and_exit_code),
    ("port_forward_reaches_both_runtimes", streams::port_forward_reaches_both_runtimes),
    ("port_forward_says_that_nothing_listens", streams::port_forward_says_that_nothing_listens),
    ("attach_joins_a_running_container", streams::attach_joins_a_running_container),
    ("exec_carries_a_flood_both_ways", streams::exec_carries_a_flood_both_ways),
    ("the_proxy_reaches_pods_and_services", streams::the_proxy_reaches_pods_and_services),
    ("what_nodes_and_pods_use_is_shown", streams::what_nodes_and_pods_use_is_shown),
    ("a_static_pod_has_a_mirror_and_outlives_it", static_pods::a_static_pod_has_a_mirror_and_outlives_it),
    ("scaling_rolls_out", day::scaling_rolls_out),
    ("a_pod_runs_to_its_end", day::a_pod_runs_to_its_end),
    ("wasm_is_deleted_and_applied_again", day::wasm_is_deleted_and_applied_again),
    ("a_cut_node_keeps_serving_and_survives_a_power_cut", day::a_cut_node_keeps_serving_and_survives_a_power_cut),
    ("unknown_field_is_refused", bad_input::unknown_field_is_refused),
    ("wrong_enum_is_refused", bad_input::wrong_enum_is_refused),
    ("bad_name_is_refused", bad_input::bad_name_is_refused),
    ("missing_namespace_is_refused", bad_input::missing_namespace_is_refused),
    ("stale_resource_version_conflicts", bad_input::stale_resource_version_conflicts),
    ("missing_object_is_not_found", bad_input::missing_object_is_not_found),
    ("wrong_join_token_is_one_clear_line", join::wrong_join_token_is_one_clear_line),
    ("missing_image_is_an_event", bad_input::missing_image_is_an_event),
    ("wasm_that_is_no_wasm_fails_at_the_pod", bad_input::wasm_that_is_no_wasm_fails_at_the_pod),
    ("contract_a_namespace_for_its_pods", node::a_namespace_for_them),
    ("contract_maps_and_secrets_are_files", node::volumes::maps_and_secrets_are_files),
    ("contract_pods_are_files_to_themselves", node::volumes::pods_are_files_to_themselves),
    ("contract_a_missing_limit_is_the_nodes", node::volumes::a_missing_limit_is_the_nodes),
    ("contract_empty_volumes_belong_to_everybody", node::volumes::empty_volumes_belong_to_everybody),
    ("contract_sub_paths_are_files_of_volumes", node::volumes::sub_paths_are_files_of_volumes),
    ("contract_many_volumes_start_together", node::volumes::many_volumes_start_together),
    ("contract_volumes_follow_their_objects", node::updates::volumes_follow_their_objects),
    ("contract_containers_share_volumes", node::updates::containers_share_volumes),
    (
        "contract_environments_come_of_maps_secrets_and_the_pod",
        node::environment::environments_come_of_maps_secrets_and_the_pod,
    ),
    ("contract_services_are_in_the_environment", node::environment::services_are_in_the_environment),
    ("contract_paths_are_made_of_variables", node::environment::paths_are_made_of_variables),
    ("contract_commands_and_arguments_replace_the_images", node::containers::commands_and_arguments_replace_the_images),
    ("contract_security_contexts_hold", node::containers::security_contexts_hold),
    ("contract_hosts_files_are_the_nodes_unless_mounted", node::containers::hosts_files_are_the_nodes_unless_mounted),
    ("contract_last_words_are_kept", node::containers::last_words_are_kept),
    ("contract_restart_policies_count_exits", node::containers::restart_policies_count_exits),
    ("contract_what_always_fails_says_so_and_can_go", node::containers::what_always_fails_says_so_and_can_go),
    ("contract_a_runtime_class_brings_its_overhead", node::containers::a_runtime_class_brings_its_overhead),
    ("contract_hooks_are_called", node::life::hooks_are_called),
    ("contract_init_containers_come_first", node::life::init_containers_come_first),
    (
        "contract_ephemeral_containers_are_added_one_after_another",
        node::life::ephemeral_containers_are_added_one_after_another,
    ),
    ("contract_probes_restart_and_gate", node::probes::probes_restart_and_gate),
    ("contract_pods_come_change_and_go", node::updates::pods_come_change_and_go),
    ("contract_a_collection_of_pods_is_deleted", node::updates::a_collection_of_pods_is_deleted),
    ("contract_a_deadline_may_come_later", node::updates::a_deadline_may_come_later),
    ("contract_containers_take_other_sizes", node::resize::containers_take_other_sizes),
    ("contract_hundreds_of_changes_are_seen_to_the_last", node::resize::hundreds_of_changes_are_seen_to_the_last),
    ("contract_a_small_disk_fills_and_breaks", node::disk::a_small_disk_fills_and_breaks),
    ("crun_runs_a_pod_or_says_why_not", runtimes::crun_runs_a_pod_or_says_why_not),
    ("containers_of_a_gvisor_pod_meet_on_localhost", runtimes::containers_of_a_gvisor_pod_meet_on_localhost),
    ("foreign_docker_archives_run", verbs::foreign_docker_archives_run),
    ("node_exec_passes_stdin_and_exit_code", verbs::node_exec_passes_stdin_and_exit_code),
    ("link_stats_count_and_loss_is_felt", verbs::link_stats_count_and_loss_is_felt),
    ("nodes_behind_a_nat_have_another_address", verbs::nodes_behind_a_nat_have_another_address),
    ("a_cut_between_nodes_leaves_the_hub", verbs::a_cut_between_nodes_leaves_the_hub),
    ("a_wrong_clock_and_a_reboot_harm_nothing", verbs::a_wrong_clock_and_a_reboot_harm_nothing),
    ("two_clusters_stand_side_by_side", second::two_clusters_stand_side_by_side),
    ("up_that_takes_too_long_ends_with_3_and_the_reason", second::up_that_takes_too_long_ends_with_3_and_the_reason),
    ("down_works_after_a_crashed_up", second::down_works_after_a_crashed_up),
    ("the_bench_prints_its_figures", surface::the_bench_prints_its_figures),
    ("pods_outlive_containerd_and_agent", faults::pods_outlive_containerd_and_agent),
    ("a_missing_containerd_is_said_and_outlived", faults::a_missing_containerd_is_said_and_outlived),
    ("views_are_rebuilt_when_deleted", faults::views_are_rebuilt_when_deleted),
    ("the_hub_comes_back_with_its_data", faults::the_hub_comes_back_with_its_data),
];

fn main() -> ExitCode {
    Suite { name: "e2e", cases: CASES, hub: &[] }.main()
}
