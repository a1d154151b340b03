//! core/v1 LimitRange.

use super::pod::resources::quantity;
use super::resource_names::{container_name, exceeds, may_overcommit, resource_name};
use super::rules::text;
use crate::strategy::Strategy;
use holdfast_core::json::{at, default, items_at, items_at_mut};
use holdfast_core::{FieldErrors, FieldPath, Json, Quantity, names};
use std::collections::{BTreeMap, BTreeSet};

/// core/v1 LimitRange.
pub(crate) struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, doc: &mut Json) {
        for limit in items_at_mut(doc, &["spec", "limits"]) {
            if text(limit, "type") != "Container" {
                continue;
            }
            // What is not said follows from what is: the most, else the default, else the least.
            for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
                for (name, value) in at(limit, &[from]).and_then(Json::as_object).cloned().into_iter().flatten() {
                    default(limit, &[to, &name], value);
                }
            }
        }
    }

    fn creates_on_update(&self) -> bool {
        true
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let mut seen = BTreeSet::new();
        for (index, limit) in items_at(doc, &["spec", "limits"]).iter().enumerate() {
            let path = FieldPath::new("spec.limits").index(index);
            let kind = text(limit, "type");
            let problems = names::qualified_name(kind);
            if !problems.is_empty() {
                errors.all_invalid(&path.child("type"), kind, problems);
            } else if !kind.contains('/') && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") {
                let text = "must be a standard limit type or fully qualified";
                errors.invalid(&path.child("type"), kind, text);
            }
            if !seen.insert(kind) {
                errors.duplicate(&path.child("type"), kind);
            }
            one(limit, kind, &path, errors);
        }
    }
}

/// What is said of one resource.
#[derive(Default)]
struct Bounds {
    min: Option<Quantity>,
    max: Option<Quantity>,
    default: Option<Quantity>,
    request: Option<Quantity>,
    ratio: Option<Quantity>,
}

fn one(limit: &Json, kind: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let check = if matches!(kind, "Pod" | "Container") { container_name } else { resource_name };
    let mut bounds: BTreeMap<&str, Bounds> = BTreeMap::new();
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let given = limit.get(field).and_then(Json::as_object).filter(|given| !given.is_empty());
        let Some(given) = given else { continue };
        if kind == "Pod" && field.starts_with("default") {
            errors.forbidden(&path.child(field), "may not be specified when `type` is 'Pod'");
            continue;
        }
        for (name, value) in given {
            check(name, &path.child(field).key(name), errors);
            let of = bounds.entry(name).or_default();
            let place = match field {
                "max" => &mut of.max,
                "min" => &mut of.min,
                "default" => &mut of.default,
                "defaultRequest" => &mut of.request,
                _ => &mut of.ratio,
            };
            *place = quantity(value);
        }
    }
    if kind == "PersistentVolumeClaim" && ["min", "max"].iter().all(|field| at(limit, &[field, "storage"]).is_none()) {
        let text = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&path.child("limits"), text);
    }
    for (name, of) in &bounds {
        compare(name, of, path, errors);
    }
}

fn compare(name: &str, of: &Bounds, path: &FieldPath, errors: &mut FieldErrors) {
    let at = |field: &str| path.child(field).key(name);
    let mut ordered = |small: Option<Quantity>, big: Option<Quantity>, place: &str, shown: bool, text: &str| {
        let (Some(small), Some(big)) = (small, big) else { return };
        if exceeds(small, big) {
            let text = text.replacen("{}", &small.to_string(), 1).replacen("{}", &big.to_string(), 1);
            errors.invalid(&at(place), if shown { small } else { big }.to_string(), text);
        }
    };
    let Bounds { min, max, default, request, ratio } = *of;
    ordered(min, max, "min", true, "min value {} is greater than max value {}");
    ordered(min, request, "defaultRequest", false, "min value {} is greater than default request value {}");
    ordered(request, max, "defaultRequest", true, "default request value {} is greater than max value {}");
    ordered(
        request,
        default,
        "defaultRequest",
        true,
        "default request value {} is greater than default limit value {}",
    );
    ordered(min, default, "default", true, "min value {} is greater than default value {}");
    ordered(default, max, "default", false, "default value {} is greater than max value {}");
    if let Some(ratio) = ratio {
        let place = at("maxLimitRequestRatio");
        if ratio.milli() < 1000 {
            errors.invalid(&place, ratio.to_string(), format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (min, max) {
            #[allow(clippy::cast_precision_loss, reason = "upstream compares in floating point, too")]
            let (ratio_value, bound) = (ratio.milli() as f64 / 1000.0, max.milli() as f64 / min.milli() as f64);
            if ratio_value > bound {
                let text = format!("ratio {ratio} is greater than max/min = {bound:.6}");
                errors.invalid(&place, ratio.to_string(), text);
            }
        }
    }
    if let (Some(default), Some(request)) = (default, request)
        && !may_overcommit(name)
        && default.milli() != request.milli()
    {
        let text = format!("default value {default} must equal to defaultRequest value {request} in {name}");
        errors.invalid(&at("defaultRequest"), request.to_string(), text);
    }
}
