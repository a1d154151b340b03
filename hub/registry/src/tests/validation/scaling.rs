//! autoscaling: HorizontalPodAutoscaler.

use super::*;

const SCALERS: &str = "autoscaling/horizontalpodautoscalers";

fn scaler() -> Json {
    json!({ "spec": { "maxReplicas": 3, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } } })
}

#[test]
fn autoscalers() {
    create(SCALERS, scaler(), &[]);
    let spec = made(SCALERS, scaler())["spec"].clone();
    assert_eq!(
        (&spec["minReplicas"], &spec["metrics"][0]["resource"]["target"]["averageUtilization"]),
        (&json!(1), &json!(80))
    );
    create(
        SCALERS,
        json!({ "spec": { "minReplicas": 0, "scaleTargetRef": {} } }),
        &[
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            "spec.maxReplicas: Required value: must be set and greater than 0",
            "spec.scaleTargetRef.kind: Required value",
            "spec.scaleTargetRef.name: Required value",
        ],
    );
    create(
        SCALERS,
        with(scaler(), "spec.minReplicas", json!(5)),
        &["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"],
    );
    let metric = |metric: Json| with(scaler(), "spec.metrics", json!([metric]));
    create(
        SCALERS,
        metric(
            json!({ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 0, "averageValue": "1" } } }),
        ),
        &[
            "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
            "spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
        ],
    );
    create(
        SCALERS,
        metric(json!({ "type": "Pods" })),
        &["spec.metrics[0].pods: Required value: must populate information for the given metric source"],
    );
    create(
        SCALERS,
        metric(json!({ "type": "External", "external": { "metric": { "name": "" }, "target": { "type": "Some" } } })),
        &[
            "spec.metrics[0].external.metric.name: Required value: must specify a metric name",
            "spec.metrics[0].external.target.type: Invalid value: \"Some\": must be either Utilization, Value, or AverageValue",
            "spec.metrics[0].external.target.averageValue: Required value: must set either a target value for metric or a per-pod target",
        ],
    );
    create(
        SCALERS,
        with(
            scaler(),
            "spec.behavior",
            json!({ "scaleUp": { "selectPolicy": "All", "stabilizationWindowSeconds": 4000,
            "policies": [{ "type": "Pods", "value": 0, "periodSeconds": 2000 }] } }),
        ),
        &[
            "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600",
            "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"All\": supported values: \"Disabled\", \"Max\", \"Min\"",
            "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 2000: must be less than or equal to 1800",
        ],
    );
}

#[tokio::test]
async fn both_versions_are_views_of_one_object() {
    let cluster = cluster().await;
    let v1 = json!({ "metadata": { "name": "web" }, "spec": { "maxReplicas": 3, "targetCPUUtilizationPercentage": 60,
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } } });
    cluster.create("autoscaling/horizontalpodautoscalers", "default", v1).await.unwrap();
    let at = Target::object(Gvr::new("autoscaling", "v2", "horizontalpodautoscalers"), "default", "web");
    let shown = cluster.registry.get(&cluster.cx, &at).await.unwrap().to_json();
    assert_eq!(shown["apiVersion"], "autoscaling/v2");
    assert_eq!(shown["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 60);
    let shown = cluster.get("autoscaling/horizontalpodautoscalers", "default", "web").await.unwrap();
    assert_eq!(shown["spec"]["targetCPUUtilizationPercentage"], 60);
    assert_eq!(shown["status"], json!({ "currentReplicas": 0, "desiredReplicas": 0 }));
    cluster
        .merge("autoscaling/horizontalpodautoscalers", "web", json!({ "spec": { "maxReplicas": 5 } }))
        .await
        .unwrap();
    let shown = cluster.registry.get(&cluster.cx, &at).await.unwrap().to_json();
    assert_eq!(
        (&shown["spec"]["maxReplicas"], &shown["spec"]["metrics"].as_array().map(Vec::len)),
        (&json!(5), &Some(1))
    );
}
