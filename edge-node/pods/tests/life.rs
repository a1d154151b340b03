//! The rules of a pod's life, each as a script and its transcript.

mod script;

use script::{World, check, check_from, pod};

const WEB: &str = "
metadata: {name: web}
spec:
  containers:
  - {name: web, image: 'r/web:1', imagePullPolicy: IfNotPresent}
";

#[test]
fn a_pod_comes_up_and_is_deleted() {
    insta::assert_snapshot!(check(
        WEB,
        "observe
         obey
         obey
         pulling web
         +1.5 obey
         obey
         +5 delete 30
         +2 obey
         obey
         obey"
    ));
}
