use holdfast_runtime::{ContainerSpec, RuntimeError, SandboxSpec};
use holdfast_wasm_host::container::{guest_spec, listen_address};
use holdfast_wasm_host::guest::GuestSpec;
use holdfast_wasm_host::images::Image;
use holdfast_wasm_host::logs::ContainerLog;

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

fn guest(spec: &ContainerSpec, image: &Image) -> Result<GuestSpec, RuntimeError> {
    let sandbox = SandboxSpec { hostname: "pod".into(), ..SandboxSpec::default() };
    let dir = tempfile::tempdir().unwrap();
    guest_spec(spec, &sandbox, Some(image), dir.path(), 256 << 20, ContainerLog::open("").unwrap())
}

#[test]
fn command_and_args_replace_the_images_words() {
    let image = Image { entrypoint: strings(&["/e", "x"]), cmd: strings(&["c"]), ..Image::default() };
    let bare = Image { cmd: strings(&["c"]), ..Image::default() };
    for (image, command, args, wanted) in [
        (&image, &[][..], &[][..], &["/e", "x", "c"][..]),
        (&image, &[], &["a"], &["/e", "x", "a"]),
        (&image, &["/k"], &[], &["/k"]),
        (&image, &["/k"], &["a"], &["/k", "a"]),
        (&bare, &[], &[], &["main", "c"]),
        (&bare, &[], &["a"], &["main", "a"]),
    ] {
        let spec = ContainerSpec {
            name: "main".into(),
            command: strings(command),
            args: strings(args),
            ..ContainerSpec::default()
        };
        assert_eq!(guest(&spec, image).unwrap().args, strings(wanted), "{command:?} {args:?}");
    }
}

#[test]
fn the_environment_of_the_spec_wins_over_the_images() {
    let pair = |key: &str, value: &str| (key.to_string(), value.to_string());
    let image = Image { env: vec![pair("A", "image"), pair("B", "image")], ..Image::default() };
    let spec = ContainerSpec { env: vec![pair("B", "spec"), pair("HOSTNAME", "own")], ..ContainerSpec::default() };
    let wanted = [pair("HOSTNAME", "own"), pair("A", "image"), pair("B", "spec")];
    assert_eq!(guest(&spec, &image).unwrap().env, wanted);
}

#[test]
fn mounts_are_folders_of_the_host_or_scratch() {
    let mount = |host: &str| holdfast_runtime::Mount {
        host_path: host.into(),
        container_path: "/m".into(),
        ..holdfast_runtime::Mount::default()
    };
    let with = |host: &str| ContainerSpec { mounts: vec![mount(host)], ..ContainerSpec::default() };
    assert!(guest(&with(""), &Image::default()).unwrap().folders[0].0.ends_with("0"));
    assert!(guest(&with("/etc/hosts"), &Image::default()).unwrap().folders.is_empty());
    let missing = guest(&with("/missing"), &Image::default()).unwrap_err();
    assert_eq!(missing.to_string(), "cannot mount /missing: No such file or directory (os error 2)");
}

#[test]
fn the_port_is_the_environments_then_the_first_declared() {
    let sandbox = |ips: &[&str]| SandboxSpec { ips: strings(ips), ..SandboxSpec::default() };
    let env = |port: &str| vec![("PORT".to_string(), port.to_string())];
    let spec = ContainerSpec {
        ports: vec![("d".into(), 53, "UDP".into()), ("h".into(), 80, "TCP".into())],
        ..ContainerSpec::default()
    };
    let text = |ips: &[&str], spec: &ContainerSpec, env: &[(String, String)]| {
        listen_address(spec, &sandbox(ips), env).map(|(address, port)| format!("{address} {port}"))
    };
    assert_eq!(text(&["10.0.0.1", "fd00::1"], &spec, &[]).unwrap(), "10.0.0.1 80");
    assert_eq!(text(&[], &spec, &env("9000")).unwrap(), "0.0.0.0 9000");
    assert_eq!(text(&["fd00::1"], &ContainerSpec::default(), &[]).unwrap(), "fd00::1 8080");
    assert!(text(&["nonsense"], &spec, &[]).is_err());
    assert!(text(&[], &spec, &env("0")).is_err());
}
