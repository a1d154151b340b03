use crate::harness::*;
use holdfast_cni::sync_routes;
use ipnet::IpNet;

#[test]
fn the_table_follows_the_list_and_foreign_routes_stay() {
    on_a_host(async |_: &Host| {
        ip("link add up0 type veth peer name up1");
        ip("link set up1 up");
        ip("link set up0 up");
        ip("addr add 192.0.2.1/24 dev up0");
        ip("route add 10.99.0.0/24 via 192.0.2.50");
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let desired = [(net("10.42.2.0/24"), v4("192.0.2.2")), (net("10.42.3.0/24"), v4("192.0.2.3"))];
        let changes = sync_routes(&desired).await.unwrap();
        assert_eq!((changes.set.len(), changes.removed.len(), changes.failed.len()), (2, 0, 0));
        assert_eq!(sync_routes(&desired).await.unwrap(), Default::default());
        let moved = [(net("10.42.2.0/24"), v4("192.0.2.7"))];
        let changes = sync_routes(&moved).await.unwrap();
        assert_eq!((changes.set, changes.removed), (vec![net("10.42.2.0/24")], vec![net("10.42.3.0/24")]));
        let table = ip("route");
        assert!(table.contains("10.42.2.0/24 via 192.0.2.7") && table.contains("proto 97"), "{table}");
        assert!(table.contains("10.99.0.0/24 via 192.0.2.50") && !table.contains("10.42.3.0"), "{table}");

        let unreachable = [(net("10.42.4.0/24"), v4("198.51.100.1")), moved[0]];
        let changes = sync_routes(&unreachable).await.unwrap();
        assert!(changes.failed[0].1.contains("unreachable"), "{changes:?}");
        assert!(ip("route").contains("10.42.2.0/24 via 192.0.2.7"));
    });
}
