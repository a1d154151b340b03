//! The CEL specification, `doc/langdef.md`, by its sections; then cel-go's extensions, by their documentation.

use crate::{all_true, all_wrong, outcome};
use serde_json::json;

#[test]
fn literals_of_section_values() {
    all_true(&[
        "1 + 1 == 2 && 0x1F == 31 && -0x1 == -1 && 5u == 0x5u",
        "1.5e3 == 1500.0 && .5 == 0.5 && 1e-1 == 0.1",
        "-9223372036854775808 < 9223372036854775807",
        r#"'a' == "a" && '''a''' == """a""" && r'\n' == '\\n' && R"\\" == '\\\\'"#,
        r#"'\x41\101\u0041\U00000041' == 'AAAA'"#,
        r#"'\a\b\f\n\r\t\v\\\?\"\'\`' == "\007\010\014\n\r\t\013\\?\"'`""#,
        r#"b'\xff' != b'\xfe' && b'ab' == bytes('ab') && size(b'ä') == 2 && br'\x' == b'\\x'"#,
        "'''line\nline''' == 'line\\nline'",
        "[1, 2, 3,][1] == 2 && {'a': 1,}['a'] == 1 && size([]) == 0 && {} == {}",
        "null == null && true != false",
        "1 // a comment\n + 1 == 2",
    ]);
    all_wrong(&[
        ("9223372036854775808", "invalid int literal"),
        ("18446744073709551616u", "invalid uint literal"),
        ("1e999", "invalid double literal"),
        (r"'\q'", "unable to unescape string"),
        (r"'\ud800'", "unable to unescape string"),
        (r"b'\u0041'", "unable to unescape string"),
        ("'a", "token recognition error"),
        ("#", "Syntax error: token recognition error at: '#'"),
        ("let", "reserved identifier: let"),
        ("while(1)", "reserved identifier: while"),
    ]);
}

#[test]
fn arithmetic_is_checked_for_overflow() {
    all_true(&[
        "7 / 2 == 3 && -7 / 2 == -3 && -7 % 3 == -1 && 7u % 4u == 3u",
        "2.0 * 3.5 == 7.0 && 1.0 / 0.0 > 1e300 && -(-3) == 3",
        "1 - 2 - 3 == -4 && 2 + 3 * 4 == 14 && (2 + 3) * 4 == 20",
        "'a' + 'b' == 'ab' && b'a' + b'b' == b'ab' && [1] + [2] == [1, 2]",
    ]);
    all_wrong(&[
        ("9223372036854775807 + 1", "integer overflow"),
        ("-9223372036854775808 - 1", "integer overflow"),
        ("9223372036854775807 * 2", "integer overflow"),
        ("-(-9223372036854775808)", "integer overflow"),
        ("-9223372036854775808 / -1", "integer overflow"),
        ("0u - 1u", "unsigned integer overflow"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("1u / 0u", "division by zero"),
        ("1 + 1.0", "found no matching overload for '_+_' applied to '(int, double)'"),
    ]);
}

#[test]
fn logic_absorbs_errors_on_either_side() {
    all_true(&[
        "true || 1 / 0 == 1",
        "1 / 0 == 1 || true",
        "!(false && 1 / 0 == 1)",
        "!(1 / 0 == 1 && false)",
        "(true ? 1 : 1 / 0) == 1",
        "[1, 0, 2].exists(x, 4 / x == 2)",
        "![1, 0, 2].all(x, 4 / x == 2)",
        "has({'a': 1}.a) && !has({'a': 1}.b)",
        // Variables of a loop that failed are gone.
        "[0].map(x, 1 / x) == [1] || [5].all(y, y == 5)",
        "[0].all(x, [1].exists(z, z / x == 1)) || [5].map(y, y) == [5]",
        "false || true && true",
    ]);
    all_wrong(&[
        ("1 / 0 == 1 || false", "division by zero"),
        ("true && 1 / 0 == 1", "division by zero"),
        ("[1, 0].all(x, 1 / x == 1)", "division by zero"),
        ("[0, 1].exists_one(x, 1 / x == 1)", "division by zero"),
        ("dyn(1) || false", "no such overload"),
    ]);
}

#[test]
fn equality_and_order_of_section_equality() {
    all_true(&[
        "dyn(1) == 1.0 && dyn(1u) == 1 && dyn(1.0) == 1u && dyn(1) != 1.5",
        "1 < 1.5 && 1u < 2 && 2.5 > 2u && 18446744073709551615u > -1",
        "!(dyn(9223372036854775807) < 9223372036854775808.0) && dyn(9223372036854775807) <= 9223372036854775808.0",
        "dyn('1') != 1 && dyn(null) != 0 && dyn([1]) != {'a': 1}",
        "[dyn(1), dyn([2.0])] == [dyn(1.0), dyn([2])]",
        "{'a': 1, 'b': 2} == {'b': 2, 'a': 1} && {1: 'a'} != {2: 'a'}",
        "double('NaN') != double('NaN')",
        "'a' < 'b' && b'a' < b'b' && false < true && 'Z' < 'a'",
        "1 in [1, 2] && !(3 in [1, 2]) && 'a' in {'a': 1} && dyn(1.0) in [1, 2] && dyn(1u) in {1: 2}",
        "{1: 'x'}[1] == 'x' && {1u: 'x'}[dyn(1)] == 'x' && {1: 'x'}[dyn(1.0)] == 'x'",
        "timestamp('2023-01-01T00:00:00Z') < timestamp('2023-01-01T00:00:01Z')",
        "type(1) == int && type(1u) == uint && type('a') == string && type([]) == list && type({}) == map",
        "type(type(1)) == type && type(null) == null_type && type(1.0) != int",
        "type(timestamp(0)) == google.protobuf.Timestamp && type(duration('1s')) == google.protobuf.Duration",
    ]);
    all_wrong(&[
        ("double('NaN') < 1.0", "NaN values cannot be ordered"),
        ("[1][5]", "index out of bounds: 5"),
        ("[1][-1]", "index out of bounds: -1"),
        ("{'a': 1}['b']", "no such key: b"),
        ("{'a': 1}.b", "no such key: b"),
        ("{'a': 1, 'a': 2}", "Failed with repeated key"),
        ("dyn('a') < 1", "no such overload"),
    ]);
}

#[test]
fn macros_of_section_macros() {
    all_true(&[
        "[1, 2, 3].all(x, x > 0) && [].all(x, false)",
        "[1, 2, 3].exists(x, x == 2) && ![].exists(x, true)",
        "[1, 2, 2].exists_one(x, x == 1) && ![1, 2, 2].exists_one(x, x == 2) && [1].existsOne(x, true)",
        "[1, 2, 3].map(x, x * 2) == [2, 4, 6] && [1, 2, 3].map(x, x > 1, x * 2) == [4, 6]",
        "[1, 2, 3].filter(x, x > 1) == [2, 3]",
        "{'a': 1, 'b': 2}.all(k, k in ['a', 'b']) && {'a': 1}.map(k, k) == ['a']",
        "[[1, 2], [3]].all(l, l.all(x, x > 0)) && [1].map(x, [2].map(y, x + y)) == [[3]]",
        "[1, 2].map(x, x).map(x, x + 1) == [2, 3]",
        "size([1, 2, 3].map(x, [x, x])) == 3",
    ]);
    all_wrong(&[
        ("[1].all(1, true)", "argument must be a simple name"),
        ("[1].map(x.y, true)", "argument is not an identifier"),
        ("has(1)", "invalid argument to has() macro"),
        ("[1].all(__result__, true)", "iteration variable overwrites accumulator variable"),
        ("1.all(x, true)", "expression of type 'int' cannot be range of a comprehension"),
        ("[1].all(x, x)", "expected type 'bool' but found 'int'"),
    ]);
}

#[test]
fn two_variable_comprehensions() {
    all_true(&[
        "[1, 2].all(i, v, i < v) && {'a': 1}.all(k, v, k == 'a' && v == 1)",
        "[5, 6].exists(i, v, i == 1 && v == 6) && [5, 6].existsOne(i, v, v == 6)",
        "[5, 6].transformList(i, v, i * v) == [0, 6] && [5, 6].transformList(i, v, i > 0, v) == [6]",
        "{'a': 1, 'b': 2}.transformMap(k, v, v + 1) == {'a': 2, 'b': 3}",
        "{'a': 1, 'b': 2}.transformMap(k, v, k == 'a', v + 1) == {'a': 2}",
        "['x', 'y'].transformMap(i, v, v) == {0: 'x', 1: 'y'}",
        "{'a': 'b'}.transformMapEntry(k, v, {v: k}) == {'b': 'a'}",
    ]);
    all_wrong(&[
        ("[1].all(i, i, true)", "duplicate variable name: i"),
        ("{'a': 1, 'b': 1}.transformMapEntry(k, v, {v: k})", "insert failed: key 1 already exists"),
    ]);
}

#[test]
fn conversions_of_section_standard_definitions() {
    all_true(&[
        "int('-5') == -5 && int(5u) == 5 && int(5.9) == 5 && int(-5.9) == -5",
        "uint('5') == 5u && uint(5) == 5u && double('1.5') == 1.5 && double(2) == 2.0",
        "string(1) == '1' && string(1u) == '1' && string(1.5) == '1.5' && string(true) == 'true'",
        "string(b'ab') == 'ab' && bytes('ab') == b'ab' && bool('true') && !bool('0')",
        "string(1e6) == '1e+06' && string(123456.5) == '123456.5'",
        "string(duration('1h1.5s')) == '3601.5s' && duration('1.5h') == duration('90m')",
        "string(timestamp('2023-01-02T03:04:05.600Z')) == '2023-01-02T03:04:05.6Z'",
        "int(timestamp('1970-01-01T00:01:00Z')) == 60 && timestamp(60) == timestamp('1970-01-01T00:01:00Z')",
        "int(duration('1s')) == 1000000000",
        "dyn(1) == 1",
    ]);
    all_wrong(&[
        ("int('a')", "type conversion error from 'string' to 'int'"),
        ("[9.3e18].map(x, int(x))", "integer overflow"),
        ("[-1].map(x, uint(x))", "unsigned integer overflow"),
        ("string(b'\\xff')", "invalid UTF-8 in bytes, cannot convert to string"),
        ("timestamp('x')", "invalid timestamp argument"),
        ("duration('x')", "invalid duration argument"),
        ("['x'].map(x, timestamp(x))", "type conversion error from 'string' to 'google.protobuf.Timestamp'"),
    ]);
}

#[test]
fn times() {
    all_true(&[
        "timestamp('2023-05-06T07:08:09.123Z').getFullYear() == 2023",
        "timestamp('2023-05-06T07:08:09.123Z').getMonth() == 4",
        "timestamp('2023-05-06T07:08:09.123Z').getDate() == 6",
        "timestamp('2023-05-06T07:08:09.123Z').getDayOfMonth() == 5",
        "timestamp('2023-01-31T07:08:09.123Z').getDayOfYear() == 30",
        "timestamp('2023-05-07T07:08:09.123Z').getDayOfWeek() == 0",
        "timestamp('2023-05-06T07:08:09.123Z').getHours() == 7",
        "timestamp('2023-05-06T07:08:09.123Z').getHours('-02:30') == 4",
        "timestamp('2023-05-06T07:08:09.123Z').getMinutes('+00:55') == 3",
        "timestamp('2023-05-06T07:08:09.123Z').getSeconds('UTC') == 9",
        // Summer, winter, the hour that comes twice, years beyond the table, and before there were zones.
        "timestamp('2023-05-06T07:08:09Z').getHours('Europe/Paris') == 9",
        "timestamp('2023-01-06T07:08:09Z').getHours('Europe/Paris') == 8",
        "timestamp('2023-10-29T00:30:00Z').getHours('Europe/Paris') == 2",
        "timestamp('2023-10-29T01:30:00Z').getHours('Europe/Paris') == 2",
        "timestamp('2223-07-06T07:08:09Z').getHours('Europe/Paris') == 9",
        "timestamp('1800-07-06T00:00:00Z').getSeconds('Europe/Paris') == 21",
        "timestamp('2023-05-06T23:08:09Z').getDate('Asia/Kathmandu') == 7",
        "timestamp('2023-05-06T23:08:09Z').getMinutes('Asia/Kathmandu') == 53",
        "timestamp('2023-01-01T00:30:00Z').getFullYear('America/New_York') == 2022",
        "timestamp('2023-05-06T07:08:09Z').getHours('US/Central') == 2",
        "timestamp('2023-05-06T07:08:09.123Z').getMilliseconds() == 123",
        "duration('3h2m1s').getHours() == 3 && duration('3h2m1s').getMinutes() == 182",
        "duration('1.5s').getMilliseconds() == 1500 && duration('90s').getSeconds() == 90",
        "timestamp('2023-01-01T00:00:00Z') + duration('1h') == timestamp('2023-01-01T01:00:00Z')",
        "timestamp('2023-01-01T01:00:00Z') - timestamp('2023-01-01T00:00:00Z') == duration('1h')",
    ]);
    all_wrong(&[
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "timestamp overflow"),
        ("timestamp(0).getHours('Mars/Base')", "unknown time zone Mars/Base"),
        ("timestamp(0).getHours('europe/paris')", "unknown time zone europe/paris"),
        ("timestamp(0).getHours('../etc/localtime')", "unknown time zone ../etc/localtime"),
        ("duration('2562047h') + duration('1h')", "duration overflow"),
    ]);
}

#[test]
fn strings_of_cel_go() {
    all_true(&[
        "'tacocat'.charAt(3) == 'o' && 'aé'.charAt(1) == 'é' && 'a'.charAt(1) == ''",
        "'tacocat'.indexOf('ac') == 1 && 'tacocat'.indexOf('none') == -1 && 'tacocat'.indexOf('a', 3) == 5",
        "'tacocat'.indexOf('') == 0 && 'éé'.indexOf('é', 1) == 1 && 'ta©o©αT'.indexOf('α') == 5",
        "'tacocat'.lastIndexOf('at') == 5 && 'tacocat'.lastIndexOf('') == 7 && 'tacocat'.lastIndexOf('a', 4) == 1",
        "'aaa'.lastIndexOf('aa') == 1 && 'éaé'.lastIndexOf('é') == 2 && 'aaa'.lastIndexOf('aa', 0) == 0",
        "'TacoCÆt'.lowerAscii() == 'tacocÆt' && 'tacoCat'.upperAscii() == 'TACOCAT'",
        "'hello hello'.replace('he', 'we') == 'wello wello' && 'hello hello'.replace('he', 'we', 1) == 'wello hello'",
        "'ab'.replace('', '_') == '_a_b_' && 'hello'.replace('l', '', -1) == 'heo' && 'a'.replace('a', 'b', 0) == 'a'",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && 'ab'.split('') == ['a', 'b']",
        "'a,b'.split(',', 0) == [] && 'a,b'.split(',', -1) == ['a', 'b'] && 'abc'.split('', 2) == ['a', 'bc']",
        "'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco' && 'ta©o'.substring(2, 3) == '©'",
        "' \\n trim\\t'.trim() == 'trim'",
        "['x', 'y'].join() == 'xy' && ['x', 'y'].join('-') == 'x-y' && [].join() == ''",
        r#"strings.quote('a "b"\n') == '"a \\"b\\"\\n"'"#,
        "'abc'.contains('b') && 'abc'.startsWith('ab') && 'abc'.endsWith('bc') && 'äb'.size() == 2",
        "'abc'.matches('^a.c$') && matches('abc', 'b') && !'abc'.matches('^b')",
    ]);
    all_wrong(&[
        ("'tacocat'.charAt(30)", "index out of range: 30"),
        ("'tacocat'.indexOf('a', -1)", "index out of range: -1"),
        ("'tacocat'.lastIndexOf('a', -1)", "index out of range: -1"),
        ("'tacocat'.substring(40)", "index out of range: 40"),
        ("'tacocat'.substring(4, 3)", "invalid substring range. start: 4, end: 3"),
        ("'a'.matches('(')", "invalid matches argument"),
        ("['('].all(p, 'a'.matches(p))", "error parsing regexp"),
    ]);
}

#[test]
fn format_of_cel_go() {
    all_true(&[
        "'%s, %d%%'.format(['a', dyn(5)].map(x, dyn(x))) == 'a, 5%'",
        "'%s %s %s'.format([1.5, true, null]) == '1.5 true null' && '%e'.format([3.14]) == '3.140000\u{202f}×\u{202f}10⁰⁰'",
        "'%.2f'.format([3.14159]) == '3.14' && '%f'.format([1234.5]) == '1,234.500000'",
        "'%b %b'.format([dyn(5), dyn(true)]) == '101 1' && '%o'.format([8]) == '10'",
        "'%x %X'.format([dyn(255), dyn('hi')]) == 'ff 6869' && '%x'.format([-16]) == '-10'",
        "'%X'.format([b'\\xab']) == 'AB'",
        r#"'%s'.format([['a', 'b']]) == '["a", "b"]'"#,
        r#"'%s'.format([{'b': 1, 'a': 2}]) == '{"a":2, "b":1}'"#,
        r#"'%s'.format([duration('1h')]) == '3600s' && '%s'.format([[timestamp(0)]]) == '[timestamp("1970-01-01T00:00:00Z")]'"#,
        "'%s'.format([type(1)]) == 'int'",
    ]);
    all_wrong(&[
        ("'%d'.format(['a'])", "decimal clause can only be used on integers, was given string"),
        ("'%s'.format([])", "index 0 out of range"),
        ("'a'.format([1])", "too many arguments supplied to string.format (expected 0, got 1)"),
        ("'%z'.format([1])", "unrecognized formatting clause \"z\""),
        ("'%'.format([1])", "unexpected end of string"),
        ("'%d'.format([dyn('a')])", "decimal clause can only be used on integers, was given string"),
    ]);
}

#[test]
fn sets_and_lists_of_cel_go() {
    all_true(&[
        "sets.contains([1, 2], [1]) && sets.contains([], []) && !sets.contains([1], [2])",
        "sets.equivalent([1, 2, 2], [2, 1]) && !sets.equivalent([1], [1, 2])",
        "sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], [2])",
        "[1, 2, 3, 4].slice(1, 3) == [2, 3] && [].slice(0, 0) == []",
        "[[1], [2, 3]].flatten() == [1, 2, 3] && [dyn(1), dyn([dyn([3])])].flatten(2) == [1, 3]",
        "[3, 1, 2].sort() == [1, 2, 3] && ['b', 'a'].sort() == ['a', 'b']",
        "[{'n': 2}, {'n': 1}].sortBy(e, e.n) == [{'n': 1}, {'n': 2}]",
        "lists.range(3) == [0, 1, 2] && lists.range(0) == []",
        "[1, 2].reverse() == [2, 1] && [1, 2, 1].distinct() == [1, 2]",
    ]);
    all_wrong(&[
        ("[1].slice(0, 5)", "cannot slice(0, 5), list is length 1"),
        ("[1].slice(-1, 0)", "cannot slice(-1, 0), negative indexes not supported"),
        ("[1].slice(1, 0)", "cannot slice(1, 0), start index must be less than or equal to end index"),
        ("lists.range(100000000)", "list is too long"),
        ("[dyn(1)].flatten(-1)", "level must be non-negative"),
    ]);
}

#[test]
fn optional_values_of_cel_go() {
    all_true(&[
        "optional.of(1).value() == 1 && !optional.none().hasValue() && optional.of(1) != optional.none()",
        "{'a': 1}.?a.value() == 1 && !{'a': 1}.?b.hasValue() && {'a': 1}.?b.orValue(5) == 5",
        "{'a': {'b': 2}}.?a.?b.orValue(0) == 2 && {'a': {'b': 2}}.?a.b == optional.of(2)",
        "!{'a': {'b': 2}}.?x.b.hasValue() && {'a': {'b': 2}}.?a.c.orValue(7) == 7",
        "[1, 2][?5].orValue(0) == 0 && [1, 2][?1] == optional.of(2) && {'a': 1}[?'a'].hasValue()",
        "optional.none().or(optional.of(2)).value() == 2 && optional.of(1).or(optional.of(2)).value() == 1",
        "optional.of(1).optMap(x, x + 1).value() == 2 && !optional.none().optMap(x, x + 1).hasValue()",
        "{'a': {'b': 1}}.?a.optFlatMap(a, a.?b).value() == 1",
        "[?optional.of(1), ?optional.none(), 2] == [1, 2] && {?'a': optional.none(), 'b': 1} == {'b': 1}",
        "optional.ofNonZeroValue(0) == optional.none() && optional.ofNonZeroValue(1) == optional.of(1)",
        "[1, 2].first().value() == 1 && [1, 2].last().value() == 2 && [].first() == optional.none()",
        "optional.unwrap([optional.of(1), optional.none()]) == [1] && [optional.of(1)].unwrapOpt() == [1]",
        "type(optional.of(1)) == optional_type && !has({'a': {'c': 1}}.?b.c)",
    ]);
    all_wrong(&[
        ("optional.none().value()", "optional.none() dereference"),
        ("[?1]", "expected type 'optional_type(int)' but found 'int'"),
    ]);
}

#[test]
fn values_become_json() {
    assert_eq!(outcome("{'a': [1, 2], 'b': [3]}.map(k, k)"), Ok(json!(["a", "b"])));
    assert_eq!(outcome("[b'hi']"), Ok(json!(["aGk="])));
    assert_eq!(outcome("[duration('1s')]"), Ok(json!(["1s"])));
    assert_eq!(outcome("{1: 2u}"), Ok(json!({"1": 2})));
    assert_eq!(outcome("optional.of([timestamp(0)])"), Ok(json!(["1970-01-01T00:00:00Z"])));
    assert!(outcome("type(1)").is_err());
}
