//! The contract of volumes, environment, mounts and `/etc` files, on a real folder.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use holdfast_volumes::*;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

#[derive(Default)]
struct Objects {
    maps: BTreeMap<String, ConfigMap>,
    secrets: BTreeMap<String, Secret>,
    token: Option<String>,
}

impl Objects {
    fn map(mut self, name: &str, data: &[(&str, &str)]) -> Objects {
        let data = data.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
        self.maps.insert(name.into(), ConfigMap { data: Some(data), ..Default::default() });
        self
    }

    fn secret(mut self, name: &str, data: &[(&str, &str)]) -> Objects {
        let data = data.iter().map(|(k, v)| ((*k).to_string(), ByteString(v.as_bytes().to_vec()))).collect();
        self.secrets.insert(name.into(), Secret { data: Some(data), ..Default::default() });
        self
    }
}

impl VolumeObjects for Objects {
    fn config_map(&self, namespace: &str, name: &str) -> Option<ConfigMap> {
        assert_eq!(namespace, "demo");
        self.maps.get(name).cloned()
    }
    fn secret(&self, _namespace: &str, name: &str) -> Option<Secret> {
        self.secrets.get(name).cloned()
    }
    fn token(&self, _namespace: &str, pod_uid: &str, audience: &str, seconds: i64) -> Option<String> {
        self.token.as_ref().map(|token| format!("{token}:{pod_uid}:{audience}:{seconds}"))
    }
    fn allocatable(&self) -> fields::Allocatable {
        let all = [("cpu", "4"), ("memory", "8Gi"), ("ephemeral-storage", "20Gi")];
        all.into_iter().map(|(name, amount)| (name.to_string(), amount.parse().unwrap())).collect()
    }
}

fn pod(spec: &str) -> Pod {
    let document = serde_saphyr::from_str(&format!("spec:\n  containers: [{{name: c}}]\n{spec}")).unwrap();
    let mut pod = holdfast_pods::typed::pod(document).unwrap();
    pod.metadata.name = Some("web-0".into());
    pod.metadata.namespace = Some("demo".into());
    pod.metadata.uid = Some("u-1".into());
    pod.metadata.labels = Some([("app".to_string(), "we\"b".to_string())].into());
    pod
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

const PROJECTED: &str = "
  volumes:
  - name: kube-api-access
    projected:
      defaultMode: 420
      sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
";

#[test]
fn a_service_account_volume_is_written_refreshed_and_survives_a_cut() {
    let dir = tempfile::tempdir().unwrap();
    let manager = VolumeManager::new(dir.path().join("pods"));
    let pod = pod(PROJECTED);
    let mut objects = Objects::default().map("kube-root-ca.crt", &[("ca.crt", "CA"), ("other", "no")]);
    let refused = manager.set_up(&pod, &objects).unwrap_err().to_string();
    assert_eq!(
        refused,
        "MountVolume.SetUp failed for volume \"kube-api-access\" : failed to fetch token: none is known here for \
         serviceaccount \"default\" yet"
    );
    objects.token = Some("t1".into());
    let mounted = manager.set_up(&pod, &objects).unwrap();
    let volume = &mounted["kube-api-access"];
    assert!(volume.read_only);
    let at = |name: &str| volume.host_path.join(name);
    assert_eq!(read(&at("token")), "t1:u-1::3607");
    assert_eq!(read(&at("ca.crt")), "CA");
    assert_eq!(read(&at("namespace")), "demo");
    assert!(!at("other").exists());
    assert_eq!(fs::metadata(at("token")).unwrap().mode() & 0o777, 0o644);
    let pod_dir = fs::metadata(manager.pod_dir("u-1").unwrap()).unwrap();
    assert_eq!(pod_dir.mode() & 0o777, 0o700);
    assert!(!manager.refresh(&pod, &objects).unwrap(), "nothing changed");
    let before = fs::read_link(at("..data")).unwrap();
    objects.token = Some("t2".into());
    assert!(manager.refresh(&pod, &objects).unwrap());
    assert_ne!(fs::read_link(at("..data")).unwrap(), before, "replaced as a whole");
    assert!(!volume.host_path.join(before).exists(), "the old folder is removed");
    assert_eq!(read(&at("token")), "t2:u-1::3607");
    // The hub is out of reach: the token that is there stays.
    objects.token = None;
    manager.set_up(&pod, &objects).unwrap();
    assert_eq!(read(&at("token")), "t2:u-1::3607");
}

#[test]
fn keys_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let manager = VolumeManager::new(dir.path().into());
    let pod = pod("
  volumes:
  - {name: conf, configMap: {name: conf, defaultMode: 256}}
  - {name: maybe, secret: {secretName: none, optional: true}}
  - {name: nested, secret: {secretName: s, items: [{key: a, path: x/y/a, mode: 288}]}}
");
    let objects = Objects::default().map("conf", &[("a", "1"), ("b", "2")]).secret("s", &[("a", "A"), ("b", "B")]);
    let mounted = manager.set_up(&pod, &objects).unwrap();
    let conf = &mounted["conf"].host_path;
    assert_eq!((read(&conf.join("a")), read(&conf.join("b"))), ("1".into(), "2".into()));
    assert_eq!(fs::metadata(conf.join("a")).unwrap().mode() & 0o777, 0o400);
    let nested = &mounted["nested"].host_path;
    assert_eq!(read(&nested.join("x/y/a")), "A");
    assert_eq!(fs::metadata(nested.join("x/y/a")).unwrap().mode() & 0o777, 0o440);
    assert!(!nested.join("b").exists());
    let objects = Objects::default().map("conf", &[("b", "3"), ("c", "4")]).secret("s", &[("a", "A")]);
    assert!(manager.refresh(&pod, &objects).unwrap());
    assert!(!conf.join("a").exists() && fs::symlink_metadata(conf.join("a")).is_err());
    assert_eq!((read(&conf.join("b")), read(&conf.join("c"))), ("3".into(), "4".into()));
    manager.tear_down("u-1").unwrap();
    assert!(!manager.pod_dir("u-1").unwrap().exists());
    manager.tear_down("u-1").unwrap();
    manager.tear_down("../escape").unwrap();
}

#[test]
fn what_is_missing_or_not_built_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let manager = VolumeManager::new(dir.path().into());
    let objects = Objects::default().map("conf", &[("a", "1")]);
    for (volume, text) in [
        ("configMap: {name: gone}", "configmap \"gone\" not found"),
        ("secret: {secretName: gone}", "secret \"gone\" not found"),
        ("configMap: {name: conf, items: [{key: z, path: z}]}", "references non-existent config key: z"),
        ("configMap: {name: conf, items: [{key: a, path: ../z}]}", "invalid path \"../z\""),
        ("configMap: {name: conf, items: [{key: a, path: ..data}]}", "invalid path \"..data\""),
        ("persistentVolumeClaim: {claimName: c}", "not implemented: volumes of type persistentVolumeClaim"),
        ("csi: {driver: d}", "not implemented: volumes of type csi"),
        ("nfs: {server: s, path: /}", "not implemented: volumes of type nfs"),
        (
            "emptyDir: {medium: HugePages}",
            "medium HugePages: hugePages storage requested, but there is no resource request for huge pages",
        ),
        ("emptyDir: {medium: Paper}", "unknown storage medium \"Paper\""),
        (
            "hostPath: {path: /proc/version, type: Directory}",
            "hostPath type check failed: /proc/version is not a directory",
        ),
        ("hostPath: {path: /nowhere/x, type: Socket}", "hostPath type check failed: /nowhere/x is not a socket file"),
        (
            "projected: {sources: [{secret: {name: gone}}, {configMap: {name: z}}]}",
            "[secret \"gone\" not found, configmap \"z\" not found]",
        ),
        (
            "projected: {sources: [{podCertificate: {keyType: ED25519, signerName: s}}]}",
            "not implemented: projected podCertificate",
        ),
    ] {
        let problem = manager.set_up(&pod(&format!("  volumes: [{{name: x, {volume}}}]")), &objects).unwrap_err();
        assert_eq!(problem.to_string(), format!("MountVolume.SetUp failed for volume \"x\" : {text}"));
    }
}

#[test]
fn empty_dirs_stay_and_memory_is_a_mount() {
    let dir = tempfile::tempdir().unwrap();
    let manager = VolumeManager::new(dir.path().into());
    let pod = pod("
  securityContext: {fsGroup: 4711}
  volumes: [{name: disk, emptyDir: {}}, {name: mem, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]
");
    let mounted = manager.set_up(&pod, &Objects::default()).unwrap();
    let (disk, mem) = (&mounted["disk"].host_path, &mounted["mem"].host_path);
    let meta = fs::metadata(disk).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o2777, 4711));
    assert_ne!(fs::metadata(mem).unwrap().dev(), meta.dev(), "a file system of its own");
    assert!(fs::write(mem.join("big"), vec![0; 2 << 20]).is_err(), "the size limit holds");
    fs::write(disk.join("kept"), "x").unwrap();
    fs::set_permissions(disk, fs::Permissions::from_mode(0o2750)).unwrap();
    manager.set_up(&pod, &Objects::default()).unwrap();
    assert_eq!(read(&disk.join("kept")), "x");
    assert_eq!(fs::metadata(disk).unwrap().mode() & 0o7777, 0o2750, "a container's own mode stays");
    assert_eq!(manager.gc(&BTreeSet::from(["u-1".to_string()])).unwrap(), Vec::<String>::new());
    assert_eq!(manager.gc(&BTreeSet::new()).unwrap(), ["u-1"]);
    assert!(!disk.exists() && !mem.exists());
}

/// Whether something is mounted there.
fn is_mounted(path: &Path) -> bool {
    holdfast_runtime::mount_table::mounts_below(path).unwrap().contains(&path.canonicalize().unwrap())
}

fn bind(from: &Path, to: &Path) {
    let flags = rustix::mount::MountFlags::BIND;
    rustix::mount::mount(from, to, "", flags, None::<&std::ffi::CStr>).unwrap();
}

#[test]
fn what_is_mounted_below_a_pod_keeps_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let manager = VolumeManager::new(dir.path().join("pods"));
    let pod = pod("  volumes: [{name: v, emptyDir: {}}, {name: i, image: {reference: registry.local/app:1}}]");
    let mounted = manager.set_up(&pod, &Objects::default()).unwrap();
    assert!(mounted.keys().eq(["v"]), "an image is its runtime's to mount");
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("kept"), "x").unwrap();
    // A container that passes its mounts on, and an image: folders of the same disk, which no device number tells apart.
    let inside = mounted["v"].host_path.join("deep");
    let image = manager.pod_dir("u-1").unwrap().join("images/i");
    for place in [&inside, &image] {
        fs::create_dir_all(place).unwrap();
        bind(&other, place);
        assert!(is_mounted(place));
    }
    manager.tear_down("u-1").unwrap();
    assert!(!manager.pod_dir("u-1").unwrap().exists());
    assert_eq!(read(&other.join("kept")), "x");
}

#[test]
fn images_are_mounted_in_folders_of_the_pod_and_show_folders_alone() {
    let dir = tempfile::tempdir().unwrap();
    let manager = VolumeManager::new(dir.path().join("pods"));
    let mut pod = pod("
  volumes:
  - {name: one, image: {reference: registry.local/one:1, pullPolicy: Always}}
  - {name: two, image: {reference: registry.local/two:1}}
");
    let spec = pod.spec.as_mut().unwrap();
    spec.containers[0].volume_mounts = Some(vec![serde_saphyr::from_str("{name: one, mountPath: /one}").unwrap()]);
    let container = pod.spec.as_ref().unwrap().containers[0].clone();
    let volumes = manager.image_volumes(&pod, &container);
    assert_eq!(volumes.len(), 1, "only what the container mounts");
    assert_eq!(volumes[0].source.reference.as_deref(), Some("registry.local/one:1"));
    assert!(volumes[0].target.ends_with("pods/u-1/images/one"));
    let target = volumes[0].target.clone();
    fs::create_dir_all(target.join("sub/deep")).unwrap();
    fs::write(target.join("file"), "x").unwrap();
    std::os::unix::fs::symlink("sub", target.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc", target.join("out")).unwrap();
    let volume = MountedVolume { host_path: target.clone(), read_only: true, is_image: true };
    let mounted = BTreeMap::from([("one".to_string(), volume)]);
    let with = |path: &str| {
        let mut container = container.clone();
        let yaml = format!("{{name: one, mountPath: /one, subPath: {path}}}");
        container.volume_mounts = Some(vec![serde_saphyr::from_str(&yaml).unwrap()]);
        container
    };
    let real = fs::canonicalize(&target).unwrap().to_string_lossy().into_owned();
    for (path, expected) in [("sub/deep", "sub/deep"), ("link/deep", "sub/deep")] {
        check_image_paths(&with(path), &mounted, &[]).unwrap();
        let mount = resolve_mounts(&with(path), &mounted, &[]).unwrap().remove(0);
        assert_eq!(mount.host_path, format!("{real}/{expected}"));
        assert!(mount.read_only && mount.no_exec);
    }
    for (path, why) in [
        ("none", "No such file or directory"),
        ("file", "only directory subpath is supported"),
        ("out", ""),
        ("../one", ""),
    ] {
        let said = check_image_paths(&with(path), &mounted, &[]).unwrap_err();
        let begin = format!("ImageVolumeMountFailed: failed to ensure image subpath {path:?} in ");
        assert!(said.starts_with(&begin) && said.contains(why), "{said}");
    }
    assert!(!target.join("none").exists());
}

#[test]
fn immutable_objects_are_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let manager = VolumeManager::new(dir.path().into());
    let pod = pod("
  volumes:
  - {name: conf, configMap: {name: conf}}
  - {name: both, projected: {sources: [{configMap: {name: conf}}, {secret: {name: s}}]}}
  - {name: mixed, projected: {sources: [{configMap: {name: conf}}, {downwardAPI: {items: []}}]}}
");
    let objects = |value: &str, immutable: bool| {
        let mut objects = Objects::default().map("conf", &[("a", value)]).secret("s", &[("b", value)]);
        objects.maps.values_mut().for_each(|map| map.immutable = Some(immutable));
        objects.secrets.values_mut().for_each(|secret| secret.immutable = Some(immutable));
        objects
    };
    let mounted = manager.set_up(&pod, &objects("1", false)).unwrap();
    let shown = || ["conf", "both", "mixed"].map(|name| read(&mounted[name].host_path.join("a")));
    assert!(manager.refresh(&pod, &objects("2", false)).unwrap());
    assert_eq!(shown(), ["2", "2", "2"]);
    // They may become immutable later.
    assert!(manager.refresh(&pod, &objects("3", true)).unwrap());
    assert_eq!(shown(), ["3", "3", "3"]);
    // Others of the same names: what also shows the pod itself is not fixed as a whole.
    assert!(manager.refresh(&pod, &objects("4", false)).unwrap());
    assert_eq!(shown(), ["3", "3", "4"]);
    manager.set_up(&pod, &Objects::default().map("conf", &[("a", "5")])).unwrap();
    assert_eq!(shown(), ["3", "3", "5"], "nor does a restart of the agent look again");
}

#[test]
fn files_of_a_pod_are_counted_by_volume() {
    let dir = tempfile::tempdir().unwrap();
    let manager = VolumeManager::new(dir.path().into());
    let pod = pod("
  volumes:
  - {name: disk, emptyDir: {}}
  - {name: mem, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: host, hostPath: {path: /usr}}
");
    let mounted = manager.set_up(&pod, &Objects::default()).unwrap();
    fs::write(mounted["disk"].host_path.join("a"), vec![1; 300_000]).unwrap();
    fs::write(mounted["mem"].host_path.join("b"), vec![1; 500_000]).unwrap();
    fs::create_dir(manager.pod_dir("u-1").unwrap().join("etc")).unwrap();
    fs::write(manager.pod_dir("u-1").unwrap().join("etc/hosts"), vec![1; 10_000]).unwrap();
    let files = manager.usage(&pod);
    let [disk, mem] = files.volumes.as_slice() else { panic!("{files:?}") };
    assert!(disk.name == "disk" && disk.own.is_none() && disk.used.inodes == 2, "{disk:?}");
    assert!((300_000..400_000).contains(&disk.used.bytes), "{disk:?}");
    let (all, free) = mem.own.unwrap();
    assert!(mem.name == "mem" && (500_000..600_000).contains(&mem.used.bytes), "{mem:?}");
    assert_eq!((all.bytes, free.bytes + mem.used.bytes), (1 << 20, 1 << 20));
    assert!(files.other.inodes == 2 && (10_000..50_000).contains(&files.other.bytes), "{files:?}");
    manager.tear_down("u-1").unwrap();
    assert_eq!(manager.usage(&pod), PodFiles::default());
}

#[test]
fn mounts_are_passed_on_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let manager = VolumeManager::new(dir.path().into());
    let mut pod = pod("  volumes: [{name: v, emptyDir: {}}]");
    let mounted = manager.set_up(&pod, &Objects::default()).unwrap();
    for (asked, word) in [("None", "private"), ("HostToContainer", "rslave"), ("Bidirectional", "rshared")] {
        let container = &mut pod.spec.as_mut().unwrap().containers[0];
        let yaml = format!("{{name: v, mountPath: /v, mountPropagation: {asked}}}");
        container.volume_mounts = Some(vec![serde_saphyr::from_str(&yaml).unwrap()]);
        assert_eq!(resolve_mounts(container, &mounted, &[]).unwrap()[0].propagation, word);
    }
}

#[test]
fn sub_paths_stay_inside() {
    let dir = tempfile::tempdir().unwrap();
    let manager = VolumeManager::new(dir.path().into());
    let mut pod = pod("  volumes: [{name: v, emptyDir: {}}, {name: conf, configMap: {name: conf}}]");
    let objects = Objects::default().map("conf", &[("a", "1")]);
    let mounted = manager.set_up(&pod, &objects).unwrap();
    let base = mounted["v"].host_path.clone();
    std::os::unix::fs::symlink("/etc", base.join("out")).unwrap();
    std::os::unix::fs::symlink("good", base.join("in")).unwrap();
    fs::create_dir(base.join("good")).unwrap();
    let env = [("POD".to_string(), "p7".to_string())];
    let mut mount = |yaml: &str| {
        let container = &mut pod.spec.as_mut().unwrap().containers[0];
        container.volume_mounts = Some(vec![serde_saphyr::from_str(yaml).unwrap()]);
        resolve_mounts(container, &mounted, &env).map(|mut mounts| mounts.remove(0))
    };
    let host = |mount: &ContainerMount| mount.host_path.clone();
    let real = fs::canonicalize(&base).unwrap().to_string_lossy().into_owned();
    assert_eq!(host(&mount("{name: v, mountPath: /d, subPath: x/y}").unwrap()), format!("{real}/x/y"));
    assert!(base.join("x/y").is_dir());
    assert_eq!(host(&mount("{name: v, mountPath: d, subPath: in}").unwrap()), format!("{real}/good"));
    assert_eq!(host(&mount("{name: v, mountPath: /d, subPathExpr: logs/$(POD)}").unwrap()), format!("{real}/logs/p7"));
    let file = mount("{name: conf, mountPath: /a, subPath: a}").unwrap();
    assert!(file.read_only && read(Path::new(&file.host_path)) == "1");
    for bad in ["out", "out/x", "../x", "/etc", "x/../../y"] {
        let problem = mount(&format!("{{name: v, mountPath: /d, subPath: {bad}}}")).unwrap_err();
        assert!(problem.starts_with("failed to prepare subPath for volumeMount \"v\" of container \"c\""), "{problem}");
    }
    assert!(!Path::new("/etc/x").exists());
    assert!(mount("{name: v, mountPath: /d, subPathExpr: $(NO)}").is_err());
    assert_eq!(
        mount("{name: no, mountPath: /d}").unwrap_err(),
        "cannot find volume \"no\" to mount into container \"c\""
    );
}

#[test]
fn the_environment_is_resolved() {
    let pod: Pod = serde_saphyr::from_str(
        "
metadata: {name: web-0, namespace: demo, uid: u, labels: {app: web}}
spec:
  serviceAccountName: sa
  containers:
  - name: c
    command: [/agnhost, '$(HOST)', $$(HOST)]
    args: ['$(NO)']
    resources: {limits: {cpu: 1500m, memory: 64Mi}}
    envFrom:
    - {configMapRef: {name: conf}, prefix: P_}
    - {secretRef: {name: none, optional: true}}
    env:
    - {name: PORT, value: '80'}
    - {name: HOST, value: '$(SVC):$(PORT) $(LATER)'}
    - {name: LATER, value: x}
    - {name: P_a, value: over}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
    - {name: HOSTS, valueFrom: {fieldRef: {fieldPath: status.hostIPs}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: LABEL, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: CPUS, valueFrom: {resourceFieldRef: {containerName: d, resource: limits.cpu}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {containerName: d, resource: limits.memory}}}
    - {name: DISK, valueFrom: {resourceFieldRef: {resource: limits.ephemeral-storage, divisor: 1Gi}}}
    - {name: DISK_REQUEST, valueFrom: {resourceFieldRef: {resource: requests.ephemeral-storage}}}
    - {name: FILE, valueFrom: {fileKeyRef: {volumeName: made, path: made.env, key: TWO}}}
    - {name: NO_KEY, valueFrom: {fileKeyRef: {volumeName: made, path: made.env, key: THREE, optional: true}}}
    - {name: NO_FILE, valueFrom: {fileKeyRef: {volumeName: made, path: x, key: THREE, optional: true}}}
    - {name: S, valueFrom: {secretKeyRef: {name: s, key: k}}}
    - {name: GONE, valueFrom: {secretKeyRef: {name: s, key: z, optional: true}}}
  - {name: d}
",
    )
    .unwrap();
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let objects = Objects::default().map("conf", &[("a", "1"), ("b=c", "2")]).secret("s", &[("k", "v")]);
    let services = [("SVC".to_string(), "10.43.0.1".to_string()), ("PORT".to_string(), "1".to_string())];
    let ips = ["10.42.0.5".to_string(), "fd00::5".to_string()];
    let hosts = ["10.0.0.1".to_string(), "fd00::1".to_string()];
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("made.env"), "# by the first\nONE='1'\nTWO='a\nb' # two lines\nNONE= 'x'\n").unwrap();
    let volume = MountedVolume { host_path: dir.path().into(), read_only: false, is_image: false };
    let volumes = BTreeMap::from([("made".to_string(), volume)]);
    let resolve = |container: &k8s_openapi::api::core::v1::Container| {
        let runtime = fields::Runtime { pod_ips: &ips, host_ips: &hosts, node_name: "edge-1" };
        resolve_env(&pod, container, &objects, EnvSources { services: &services, volumes: &volumes, runtime })
    };
    let env = resolve(container).unwrap();
    let text: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        text.join(" "),
        "SVC=10.43.0.1 P_a=over PORT=80 HOST=10.43.0.1:80 $(LATER) LATER=x IP=10.42.0.5 IPS=10.42.0.5,fd00::5 \
         HOSTS=10.0.0.1,fd00::1 NODE=edge-1 LABEL=web CPU=2 MEM=64 CPUS=4 MEMORY=8589934592 DISK=20 DISK_REQUEST=0 FILE=a\nb S=v"
    );
    let (command, args) = expand_command(container, &env);
    assert_eq!(command, ["/agnhost", "10.43.0.1:80 $(LATER)", "$(HOST)"]);
    assert_eq!(args, ["$(NO)"]);
    for (env, text) in [
        ("valueFrom: {configMapKeyRef: {name: x, key: k}}", "configmap \"x\" not found"),
        ("valueFrom: {configMapKeyRef: {name: conf, key: k}}", "couldn't find key k in ConfigMap demo/conf"),
        ("valueFrom: {secretKeyRef: {name: s, key: z}}", "couldn't find key z in Secret demo/s"),
        ("valueFrom: {fieldRef: {fieldPath: status.phase}}", "unsupported fieldPath: status.phase"),
        (
            "valueFrom: {fileKeyRef: {volumeName: made, path: made.env, key: NONE}}",
            "environment variable key \"NONE\" not found in file \"made.env\"",
        ),
        (
            "valueFrom: {fileKeyRef: {volumeName: none, path: a, key: K}}",
            "cannot find the volume \"none\" referenced by FileKeyRef",
        ),
        (
            "valueFrom: {fileKeyRef: {volumeName: made, path: ../a, key: K}}",
            "the path \"../a\" of FileKeyRef must be relative and must not contain '..'",
        ),
    ] {
        let mut container = container.clone();
        container.env = Some(vec![serde_saphyr::from_str(&format!("{{name: A, {env}}}")).unwrap()]);
        assert_eq!(resolve(&container).unwrap_err(), text);
    }
}

#[test]
fn etc_files() {
    let dns = HostDns {
        cluster_servers: vec!["10.43.0.10".into()],
        cluster_domain: "cluster.local".into(),
        host_resolv_conf: "# x\nsearch lan\nnameserver 192.168.0.1\noptions edns0\n".into(),
    };
    let plain = pod("  hostAliases: [{ip: 1.2.3.4, hostnames: [a, b]}]\n  subdomain: sub");
    assert_eq!(
        resolv_conf(&plain, &dns),
        "search demo.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.43.0.10\noptions ndots:5\n"
    );
    let hosts = hosts_file(&plain, &["10.42.0.5".into()], "edge-1", "cluster.local", "");
    assert!(hosts.contains("127.0.0.1\tlocalhost\n"));
    assert!(hosts.ends_with(
        "10.42.0.5\tweb-0.sub.demo.svc.cluster.local\tweb-0\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"
    ));
    let host = pod("  hostNetwork: true");
    assert_eq!(resolv_conf(&host, &dns), "search lan\nnameserver 192.168.0.1\noptions edns0\n");
    assert_eq!(hostname(&host, "edge-1"), "edge-1");
    assert!(hosts_file(&host, &[], "edge-1", "cluster.local", "127.0.0.1 me").ends_with("127.0.0.1 me\n"));
    let own = pod(
        "  dnsPolicy: None\n  dnsConfig: {nameservers: [9.9.9.9], searches: [x.y], options: [{name: ndots, value: '2'}, {name: debug}]}",
    );
    assert_eq!(resolv_conf(&own, &dns), "search x.y\nnameserver 9.9.9.9\noptions ndots:2 debug\n");
    let merged = pod("  dnsConfig: {nameservers: [9.9.9.9], options: [{name: ndots, value: '2'}]}");
    assert!(resolv_conf(&merged, &dns).ends_with("nameserver 10.43.0.10\nnameserver 9.9.9.9\noptions ndots:2\n"));
    assert_eq!(hostname(&plain, "edge-1"), "web-0");
    let kernels = |more: &str| kernel_hostname(&pod(more), "edge-1", "cluster.local");
    assert_eq!(kernels("  subdomain: sub").unwrap(), "web-0");
    assert_eq!(kernels("  setHostnameAsFQDN: true").unwrap(), "web-0");
    let full = kernels("  subdomain: sub\n  setHostnameAsFQDN: true");
    assert_eq!(full.unwrap(), "web-0.sub.demo.svc.cluster.local");
    let long = kernels(&format!("  subdomain: {}\n  setHostnameAsFQDN: true", "s".repeat(40))).unwrap_err();
    assert!(long.ends_with("is too long (64 is the max, 69 characters requested)"), "{long}");
}
