//! `fieldRef` and `resourceFieldRef`: a pod's own fields as text.
