//! What expressions know of the documents of a kind: its fields and their types.

use crate::Schema;
use crate::structural::Structural;
use crate::table::{Named, Shape, Type as TableType};
use holdfast_cel::{ObjectTypes, Type, TypeProvider};

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

impl Schema {
    /// The type of documents of a named type in expressions. The types of objects below it are added to `types`.
    pub fn declare(&self, name: &str, types: &mut ObjectTypes) -> Type {
        self.find(name).map_or(Type::Dyn, |named| self.declare_named(named, types))
    }

    fn declare_named(&self, named: &Named, types: &mut ObjectTypes) -> Type {
        match &named.shape {
            Shape::Struct(_) => {
                if !types.has_object(&named.name) {
                    // There are types that have themselves below them.
                    types.add(&named.name, []);
                    let fields = self.declare_fields(named, types);
                    types.add(&named.name, fields);
                }
                Type::object(&named.name)
            }
            Shape::Quantity => Type::String,
            Shape::Time | Shape::MicroTime => Type::Timestamp,
            Shape::IntOrString | Shape::Opaque | Shape::AnyJson => Type::Dyn,
        }
    }

    fn declare_fields<'s>(&'s self, named: &'s Named, types: &mut ObjectTypes) -> Vec<(&'s str, Type)> {
        let Shape::Struct(fields) = &named.shape else { return Vec::new() };
        fields.iter().map(|field| (&*field.name, self.declare_type(&field.value, types))).collect()
    }

    fn declare_type(&self, ty: &TableType, types: &mut ObjectTypes) -> Type {
        match ty {
            TableType::String => Type::String,
            TableType::Bytes => Type::Bytes,
            TableType::Bool => Type::Bool,
            TableType::Int32 | TableType::Int64 => Type::Int,
            TableType::Number => Type::Double,
            TableType::Named(at) => self.declare_named(self.named(*at), types),
            TableType::List(of) => Type::list(self.declare_type(of, types)),
            TableType::Map(of) => Type::map(Type::String, self.declare_type(of, types)),
            TableType::Any => Type::Dyn,
        }
    }
}

impl Structural {
    /// The type of whole objects of this schema in expressions, all of their metadata included. `name` begins the names of the
    /// types of objects, which are added to `types`.
    pub fn declare(&self, name: &str, types: &mut ObjectTypes) -> Type {
        let of_objects = self.declare_objects(name, types);
        let table = crate::builtin();
        if let Some(metadata) = table.find(METADATA) {
            let fields = table.declare_fields(metadata, types);
            types.add(&format!("{name}.@metadata"), fields);
        }
        of_objects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(types: &ObjectTypes, object: &str, field: &str) -> Type {
        types.field(object, field).unwrap_or_else(|| panic!("{object}.{field}")).ty.clone()
    }

    #[test]
    fn built_in_kinds_are_declared_all_the_way_down() {
        let mut types = ObjectTypes::default();
        let name = "io.k8s.api.apps.v1.Deployment";
        assert_eq!(crate::builtin().declare(name, &mut types), Type::object(name));
        let spec = "io.k8s.api.apps.v1.DeploymentSpec";
        assert_eq!(field(&types, name, "spec"), Type::object(spec));
        assert_eq!(field(&types, spec, "replicas"), Type::Int);
        assert_eq!(field(&types, METADATA, "labels"), Type::map(Type::String, Type::String));
        assert_eq!(field(&types, METADATA, "creationTimestamp"), Type::Timestamp);
        let limits = field(&types, "io.k8s.api.core.v1.ResourceRequirements", "limits");
        assert_eq!(limits, Type::map(Type::String, Type::String));
        assert_eq!(field(&types, "io.k8s.api.core.v1.ContainerPort", "containerPort"), Type::Int);
        assert_eq!(field(&types, "io.k8s.api.core.v1.HTTPGetAction", "port"), Type::Dyn);
        assert_eq!(crate::builtin().declare("io.k8s.Nothing", &mut types), Type::Dyn);
        let crd = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";
        assert_eq!(crate::builtin().declare(crd, &mut types), Type::object(crd), "it has itself below it");
    }

    #[test]
    fn custom_kinds_have_all_metadata() {
        let schema = json!({ "type": "object", "properties": { "spec": { "type": "object", "properties": {
            "drawers": { "type": "integer" } } } } });
        let mut types = ObjectTypes::default();
        assert_eq!(Structural::parse(&schema).declare("Till", &mut types), Type::object("Till"));
        assert_eq!(field(&types, "Till.spec", "drawers"), Type::Int);
        let metadata = field(&types, "Till", "metadata");
        assert_eq!(metadata, Type::object("Till.@metadata"));
        assert_eq!(field(&types, "Till.@metadata", "finalizers"), Type::list(Type::String));
    }
}
