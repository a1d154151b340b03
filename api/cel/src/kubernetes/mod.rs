//! Kubernetes' own types and functions (documentation, "Common Expression Language in Kubernetes", section "CEL
//! libraries").

pub mod authorizer;
mod formats;
mod net;
mod quantity;
mod semver;
mod url;

use crate::functions::Library;
use crate::types::Type;
use authorizer::{Decision, GroupCheck, PathCheck, ResourceCheck};
use formats::NamedFormat;
use holdfast_core::Quantity;
use net::Cidr;
use semver::Semver;
use std::net::IpAddr;
use url::Url;

/// A value of one of Kubernetes' types.
#[derive(Clone, Debug)]
pub enum Kubernetes {
    /// `kubernetes.Quantity`.
    Quantity(Quantity),
    /// `kubernetes.URL`.
    Url(Url),
    /// `net.IP`.
    Ip(IpAddr),
    /// `net.CIDR`.
    Cidr(Cidr),
    /// `kubernetes.Semver`.
    Semver(Semver),
    /// `kubernetes.NamedFormat`.
    Format(&'static NamedFormat),
    /// `kubernetes.authorization.Authorizer`.
    Authorizer(authorizer::Asker),
    /// `kubernetes.authorization.PathCheck`.
    PathCheck(PathCheck),
    /// `kubernetes.authorization.GroupCheck`.
    GroupCheck(GroupCheck),
    /// `kubernetes.authorization.ResourceCheck`.
    ResourceCheck(ResourceCheck),
    /// `kubernetes.authorization.Decision`.
    Decision(Decision),
}

const QUANTITY: &str = "kubernetes.Quantity";
const URL: &str = "kubernetes.URL";
const IP: &str = "net.IP";
const CIDR: &str = "net.CIDR";
const SEMVER: &str = "kubernetes.Semver";
const FORMAT: &str = "kubernetes.NamedFormat";

impl Kubernetes {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Kubernetes::Quantity(_) => QUANTITY,
            Kubernetes::Url(_) => URL,
            Kubernetes::Ip(_) => IP,
            Kubernetes::Cidr(_) => CIDR,
            Kubernetes::Semver(_) => SEMVER,
            Kubernetes::Format(_) => FORMAT,
            Kubernetes::Authorizer(_) => authorizer::AUTHORIZER,
            Kubernetes::PathCheck(_) => authorizer::PATH_CHECK,
            Kubernetes::GroupCheck(_) => authorizer::GROUP_CHECK,
            Kubernetes::ResourceCheck(_) => authorizer::RESOURCE_CHECK,
            Kubernetes::Decision(_) => authorizer::DECISION,
        }
    }

    /// Bytes of an address; 1 for what has no size.
    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            Kubernetes::Ip(IpAddr::V4(_)) => 4,
            Kubernetes::Ip(IpAddr::V6(_)) => 16,
            Kubernetes::Cidr(cidr) => u64::from(cidr.bits).div_ceil(8),
            _ => 1,
        }
    }
}

impl PartialEq for Kubernetes {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            // How it is written does not matter.
            (Kubernetes::Quantity(a), Kubernetes::Quantity(b)) => a.exact_milli() == b.exact_milli(),
            (Kubernetes::Url(a), Kubernetes::Url(b)) => a == b,
            (Kubernetes::Ip(a), Kubernetes::Ip(b)) => a == b,
            (Kubernetes::Cidr(a), Kubernetes::Cidr(b)) => a == b,
            (Kubernetes::Semver(a), Kubernetes::Semver(b)) => a == b,
            (Kubernetes::Format(a), Kubernetes::Format(b)) => a.name == b.name,
            (Kubernetes::Authorizer(a), Kubernetes::Authorizer(b)) => a == b,
            (Kubernetes::PathCheck(a), Kubernetes::PathCheck(b)) => a == b,
            (Kubernetes::GroupCheck(a), Kubernetes::GroupCheck(b)) => a == b,
            (Kubernetes::ResourceCheck(a), Kubernetes::ResourceCheck(b)) => a == b,
            (Kubernetes::Decision(a), Kubernetes::Decision(b)) => a == b,
            _ => false,
        }
    }
}

/// The types that have names in expressions.
pub(crate) fn named_type(name: &str) -> Option<Type> {
    match name {
        IP | CIDR => Some(Type::Opaque(name.into())),
        QUANTITY | URL | SEMVER | FORMAT => Some(Type::object(name)),
        _ => None,
    }
}

/// Whether costs of equality are those of Kubernetes: nominal.
pub(crate) fn is_own_type(name: &str) -> bool {
    named_type(name).is_some() || name.starts_with(authorizer::PREFIX)
}

pub(crate) fn declare(library: &mut Library) {
    url::declare(library);
    authorizer::declare(library);
    quantity::declare(library);
    net::declare(library);
    formats::declare(library);
    semver::declare(library);
}

/// Access to the arguments of a function of this folder.
macro_rules! argument {
    ($args:expr, $index:expr, $variant:ident) => {
        match $args.value($index)? {
            $crate::value::Value::Kubernetes(value) => match &**value {
                $crate::kubernetes::Kubernetes::$variant(inner) => Ok(inner),
                _ => Err($crate::error::EvalError::no_such_overload()),
            },
            _ => Err($crate::error::EvalError::no_such_overload()),
        }
    };
}
use argument;

/// A value of Kubernetes' as a value.
fn value<'a>(value: Kubernetes) -> crate::value::Value<'a> {
    crate::value::Value::Kubernetes(value.into())
}
