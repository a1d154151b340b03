//! authentication.k8s.io and authorization.k8s.io: questions that are answered and not stored.

use crate::Kind;
use crate::kind::CREATE;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

const REVIEW: Kind = Kind { namespaced: false, verbs: CREATE, ..Kind::BASE };

/// authentication.k8s.io/v1 TokenReview.
pub(crate) const TOKEN_REVIEW: Kind = Kind {
    group: AUTHENTICATION,
    kind: "TokenReview",
    plural: "tokenreviews",
    singular: "tokenreview",
    schema: "io.k8s.api.authentication.v1.TokenReview",
    ..REVIEW
};

/// authentication.k8s.io/v1 SelfSubjectReview.
pub(crate) const SELF_SUBJECT_REVIEW: Kind = Kind {
    group: AUTHENTICATION,
    kind: "SelfSubjectReview",
    plural: "selfsubjectreviews",
    singular: "selfsubjectreview",
    schema: "io.k8s.api.authentication.v1.SelfSubjectReview",
    ..REVIEW
};

/// authorization.k8s.io/v1 SubjectAccessReview.
pub(crate) const SUBJECT_ACCESS_REVIEW: Kind = Kind {
    group: AUTHORIZATION,
    kind: "SubjectAccessReview",
    plural: "subjectaccessreviews",
    singular: "subjectaccessreview",
    schema: "io.k8s.api.authorization.v1.SubjectAccessReview",
    ..REVIEW
};

/// authorization.k8s.io/v1 LocalSubjectAccessReview.
pub(crate) const LOCAL_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    group: AUTHORIZATION,
    kind: "LocalSubjectAccessReview",
    plural: "localsubjectaccessreviews",
    singular: "localsubjectaccessreview",
    namespaced: true,
    schema: "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    ..REVIEW
};

/// authorization.k8s.io/v1 SelfSubjectAccessReview.
pub(crate) const SELF_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    group: AUTHORIZATION,
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    schema: "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    ..REVIEW
};

/// authorization.k8s.io/v1 SelfSubjectRulesReview.
pub(crate) const SELF_SUBJECT_RULES_REVIEW: Kind = Kind {
    group: AUTHORIZATION,
    kind: "SelfSubjectRulesReview",
    plural: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    schema: "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    ..REVIEW
};
