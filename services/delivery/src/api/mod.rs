//! One file per call.

pub mod ack;
pub mod batch_enqueue;
pub mod commit_group;
pub mod count_deliveries;
pub mod create_group;
pub mod enqueue;
pub mod fetch;
pub mod fetch_group_info;
pub mod fetch_part;
pub mod fetch_push_endpoint;
pub mod forget_account;
pub mod forget_device;
pub mod leave_group;
pub mod peek;
pub mod relay;
pub mod remove_push_endpoint;
pub mod report_mailboxes;
pub mod sealed_enqueue;
pub mod set_push_endpoint;
pub mod stage_part;
