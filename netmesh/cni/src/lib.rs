//! The CNI plugin (bridge and veth) and the runner of configuration lists.
