# Two hosts of one network, $ours and $theirs, as namespaces of this machine; for the scripts beside
# this one.
# shellcheck shell=sh

ours=voiced-rig-a
theirs=voiced-rig-b

make_hosts() {
    ip netns add "$ours"
    ip netns add "$theirs"
    ip link add voiced-a netns "$ours" type veth peer name voiced-b netns "$theirs"
    for host in "$ours:voiced-a:1" "$theirs:voiced-b:2"; do
        name=${host%%:*}
        rest=${host#*:}
        device=${rest%:*}
        number=${rest#*:}
        ip -n "$name" link set lo up
        ip -n "$name" addr add "192.168.77.$number/24" dev "$device"
        ip -n "$name" addr add "fd77::$number/64" dev "$device" nodad
        ip -n "$name" link set "$device" up
        ip -n "$name" route add default dev "$device" # multicast needs one
    done
}

remove_hosts() {
    ip netns del "$ours" 2>/dev/null || :
    ip netns del "$theirs" 2>/dev/null || :
}
