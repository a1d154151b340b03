//! Kubernetes' documentation, "Common Expression Language in Kubernetes", by its sections.

use crate::{all_true, all_wrong};
use holdfast_cel::kubernetes::authorizer::{Authorizer, Decision, Request, Resource, Target, authorizer_type};
use holdfast_cel::{Bindings, Budget, Declarations, Value, compile};
use std::sync::Arc;

#[test]
fn list_library() {
    all_true(&[
        "[1, 2, 2].isSorted() && !['b', 'a'].isSorted() && [].isSorted()",
        "[1, 2].sum() == 3 && [1.5, 1.0].sum() == 2.5 && [1u].sum() == 1u",
        "[duration('1s'), duration('1m')].sum() == duration('61s') && [1].filter(x, false).sum() == 0",
        "[3, 1, 2].min() == 1 && [3, 1, 2].max() == 3 && ['a', 'b'].max() == 'b'",
        "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [1].indexOf(2) == -1",
    ]);
    all_wrong(&[
        ("[1].filter(x, false).min()", "min called on empty list"),
        ("[1].filter(x, false).max()", "max called on empty list"),
        ("['a'].sum()", "found no matching overload for 'sum' applied to 'list(string).()'"),
    ]);
}

#[test]
fn regex_library() {
    all_true(&[
        "'abc 123'.find('[0-9]*') == '' && 'abc 123'.find('[0-9]+') == '123'",
        "'123 abc 456'.findAll('[0-9]+') == ['123', '456'] && '1 2 3'.findAll('[0-9]', 2) == ['1', '2']",
        "'abc'.findAll('x') == [] && '1 2'.findAll('[0-9]', 0) == []",
    ]);
    all_wrong(&[("'a'.find('(')", "invalid find argument")]);
}

#[test]
fn url_library() {
    all_true(&[
        "url('https://example.com:80/path?k=1&k=2&j=%20').getHost() == 'example.com:80'",
        "url('https://example.com:80/').getHostname() == 'example.com' && url('https://example.com:80/').getPort() == '80'",
        "url('https://example.com/').getScheme() == 'https' && url('/path').getScheme() == ''",
        "url('https://[::1]:80/').getHostname() == '::1' && url('https://[::1]/').getPort() == ''",
        "url('https://e.com/a b/%2F').getEscapedPath() == '/a%20b//' && url('/x/%2F').getEscapedPath() == '/x/%2F' && url('https://e.com').getEscapedPath() == ''",
        "url('https://e.com/?k1=a&k2=b&k2=c').getQuery() == {'k1': ['a'], 'k2': ['b', 'c']}",
        "url('https://e.com/?a%20b=c+d').getQuery() == {'a b': ['c d']}",
        "isURL('https://user:pass@example.com:80/path?query=val#fragment') && isURL('/absolute-path')",
        "!isURL('https://a:b:c/') && !isURL('../relative-path') && !isURL('')",
        "url('https://a.b/') == url('https://a.b/') && url('mailto:a@b').getHost() == ''",
    ]);
    all_wrong(&[
        ("url('x')", "URL parse error during conversion from string: parse \"x\": invalid URI for request"),
        ("url('https://a b/')", "invalid character \" \" in host name"),
    ]);
}

#[test]
fn quantity_library() {
    all_true(&[
        "quantity('500000G').isInteger() && quantity('50k').asInteger() == 50000 && !quantity('500m').isInteger()",
        "quantity('9999999999999999999999999999G').isInteger() == false || true",
        "quantity('50k').asApproximateFloat() == 50000.0 && quantity('0.5').asApproximateFloat() == 0.5",
        "quantity('1').add('2' == '2' ? quantity('1') : quantity('0')) == quantity('2')",
        "quantity('50k').add(20) == quantity('50020') && quantity('50k').sub(quantity('1k')) == quantity('49k')",
        "quantity('200M').compareTo(quantity('0.2G')) == 0 && quantity('1').compareTo(quantity('2')) == -1",
        "quantity('150Mi').isGreaterThan(quantity('100Mi')) && quantity('50M').isLessThan(quantity('100M'))",
        "sign(quantity('-1')) == -1 && quantity('0').sign() == 0",
        "isQuantity('1.3Gi') && !isQuantity('1,3G') && !isQuantity('1K0') && quantity('1Gi') == quantity('1024Mi')",
    ]);
    all_wrong(&[
        ("quantity('10 bananas')", "quantities must match the regular expression"),
        ("quantity('1m').asInteger()", "cannot convert value to integer"),
    ]);
}

#[test]
fn ip_and_cidr_libraries() {
    all_true(&[
        "isIP('127.0.0.1') && isIP('::1') && !isIP('127.0.0.256') && !isIP(':::1') && !isIP('01.2.3.4')",
        "ip('127.0.0.1') != ip('127.0.0.2') && ip('2001:DB8::ABCD') == ip('2001:db8::abcd')",
        "ip.isCanonical('127.0.0.1') && !ip.isCanonical('2001:DB8::ABCD')",
        "ip('127.0.0.1').family() == 4 && ip('::1').family() == 6",
        "ip('0.0.0.0').isUnspecified() && ip('127.0.0.1').isLoopback() && ip('ff02::1').isLinkLocalMulticast()",
        "ip('169.254.169.254').isLinkLocalUnicast() && ip('192.168.0.1').isGlobalUnicast()",
        "!ip('255.255.255.255').isGlobalUnicast() && ip('224.0.0.1').isLinkLocalMulticast()",
        "string(ip('2001:DB8::ABCD')) == '2001:db8::abcd'",
        "isCIDR('192.168.0.0/16') && isCIDR('::1/128') && !isCIDR('192.168.0.0/33') && !isCIDR('1.2.3.4')",
        "cidr('192.168.0.0/24').containsIP(ip('192.168.0.1')) && !cidr('192.168.0.0/24').containsIP('192.168.1.1')",
        "cidr('192.168.0.0/16').containsCIDR(cidr('192.168.10.0/24')) && cidr('::/0').containsCIDR('::1/128')",
        "!cidr('192.168.1.0/24').containsCIDR('192.168.0.0/16') && !cidr('0.0.0.0/0').containsIP('::1')",
        "cidr('192.168.1.0/24').ip() == ip('192.168.1.0') && cidr('192.168.1.5/24').prefixLength() == 24",
        "cidr('192.168.1.5/24').masked() == cidr('192.168.1.0/24') && string(cidr('::1/64')) == '::1/64'",
        "type(ip('::1')) == net.IP && type(cidr('::1/1')) == net.CIDR",
    ]);
    all_wrong(&[
        ("ip('192.168.0.1.0')", "IP Address \"192.168.0.1.0\" parse error during conversion from string"),
        ("ip('fe80::1%en0')", "IP address \"fe80::1%en0\" with zone value is not allowed"),
        ("ip('::ffff:1.2.3.4')", "IPv4-mapped IPv6 address \"::ffff:1.2.3.4\" is not allowed"),
        ("cidr('1.2.3.4')", "network address parse error during conversion from string"),
    ]);
}

#[test]
fn semver_library() {
    all_true(&[
        "isSemver('1.2.3-beta.1+build.1') && !isSemver('v1.0.0') && !isSemver('1.0') && !isSemver('01.0.0')",
        "isSemver('v1.0', true) && isSemver('01.02.03', true) && semver('v1', true) == semver('1.0.0')",
        "semver('1.2.3').major() == 1 && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3",
        "semver('1.2.3').compareTo(semver('1.2.3')) == 0 && semver('1.2.3').compareTo(semver('2.0.0')) == -1",
        "semver('1.0.0-alpha.1').isLessThan(semver('1.0.0')) && semver('1.0.0-alpha.10').isGreaterThan(semver('1.0.0-alpha.9'))",
        "semver('1.0.0+a') == semver('1.0.0+b') && semver('1.0.0-1').isLessThan(semver('1.0.0-a'))",
    ]);
    all_wrong(&[
        ("semver('Three')", "No Major.Minor.Patch elements found"),
        ("semver('1.2.x')", "Invalid character(s) found in patch number \"x\""),
    ]);
}

#[test]
fn format_library() {
    all_true(&[
        "!format.dns1123Label().validate('my-label-name').hasValue()",
        "format.dns1123Subdomain().validate('apiextensions.k8s.io') == optional.none()",
        "format.qualifiedName().validate('example.com/My_Name') == optional.none()",
        "format.dns1123Label().validate('Contains_Upper').hasValue()",
        "format.dns1123LabelPrefix().validate('my-prefix-') == optional.none()",
        "format.dns1035Label().validate('1a').value().size() == 1",
        "format.labelValue().validate('v1') == optional.none() && format.uri().validate('http://a.b/') == optional.none()",
        "format.uuid().validate('123e4567-e89b-12d3-a456-426614174000') == optional.none()",
        "format.uuid().validate('x').value() == ['does not match the UUID format']",
        "format.byte().validate('aGVsbG8=') == optional.none() && format.byte().validate('%').value() == ['invalid base64']",
        "format.date().validate('2021-01-01') == optional.none() && format.date().validate('2021-13-01').value() == ['invalid date']",
        "format.datetime().validate('2021-01-01T00:00:00Z') == optional.none()",
        "format.named('dns1123Label').value().validate('a') == optional.none() && !format.named('unknown').hasValue()",
        "format.dns1123Label() == format.named('dns1123Label').value()",
    ]);
}

/// Allows what the name of the resource or path says.
struct ByName;

impl Authorizer for ByName {
    fn authorize(&self, request: &Request) -> Decision {
        let who = request.service_account.as_ref().map_or("user", |(_, name)| name);
        match &request.target {
            Target::Path(path) => Decision { allowed: **path == *"/healthz", ..Decision::default() },
            Target::Resource(Resource { resource, namespace, name, label_selector, .. }) => Decision {
                allowed: **resource == *"pods" && **namespace == *"default",
                reason: format!("{who} {} {name} {label_selector}", request.verb),
                error: (**name == *"broken").then(|| "cannot tell".to_string()),
            },
        }
    }
}

#[test]
fn authorizer_library() {
    let declarations = Arc::new(
        Declarations::default()
            .with("authorizer", authorizer_type())
            .with("authorizer.requestResource", holdfast_cel::kubernetes::authorizer::resource_check_type()),
    );
    for source in [
        "authorizer.path('/healthz').check('get').allowed() && !authorizer.path('/x').check('get').allowed()",
        "authorizer.group('').resource('pods').namespace('default').check('create').allowed()",
        "authorizer.group('').resource('pods').name('a').labelSelector('k=v').check('get').reason() == 'user get a k=v'",
        "authorizer.serviceAccount('default', 'sa').group('').resource('pods').check('get').reason() == 'sa get  '",
        "authorizer.group('').resource('pods').name('broken').check('get').errored()",
        "authorizer.group('').resource('pods').name('broken').check('get').error() == 'cannot tell'",
        "authorizer.requestResource.check('get').allowed()",
        "authorizer.requestResource.subresource('log').fieldSelector('a=b').check('get').error() == ''",
    ] {
        let program = compile(&declarations, source).unwrap_or_else(|i| panic!("{}", holdfast_cel::display(&i)));
        let mut bindings = Bindings::new(&declarations);
        bindings.set("authorizer", Value::authorizer(Arc::new(ByName)));
        let asked = Resource { resource: "pods".into(), namespace: "default".into(), ..Resource::default() };
        bindings.set("authorizer.requestResource", Value::resource_check(Arc::new(ByName), asked));
        let value = program.evaluate(&bindings, &mut Budget::default());
        assert!(matches!(value, Ok(Value::Bool(true))), "{source}: {value:?}");
    }
    let program = compile(&declarations, "authorizer.path(' ').check('get').allowed()").unwrap();
    let mut bindings = Bindings::new(&declarations);
    bindings.set("authorizer", Value::authorizer(Arc::new(ByName)));
    let err = program.evaluate(&bindings, &mut Budget::default()).unwrap_err();
    assert_eq!(err.message(), "path must not be empty");
}
