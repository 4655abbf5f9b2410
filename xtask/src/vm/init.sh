#!/bin/busybox sh
# The first program of the guest, from the initramfs: makes its root directory and goes there.
busybox=/bin/busybox
$busybox mkdir -p /proc /sys /dev /image /changes /root
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
$busybox mount -t devtmpfs dev /dev

# In the order in which they need one another.
for module in $($busybox cat /modules.order); do
    $busybox insmod "/modules/$module" || echo "cannot load $module"
done

# Some kernels look for disks beside everything else.
for _ in $($busybox seq 100); do
    [ -e /dev/vda ] && [ -e /dev/vdb ] && [ -e /dev/vdc ] && break
    $busybox sleep 0.1
done

# All guests share the image: changes go to memory, and are forgotten.
$busybox mount -t ext4 -o ro /dev/vda /image
$busybox mount -t tmpfs tmpfs /changes
$busybox mkdir /changes/upper /changes/work
$busybox mount -t overlay overlay /root \
    -o lowerdir=/image,upperdir=/changes/upper,workdir=/changes/work
$busybox mkdir -p /root/usr/lib/modules /root/payload
$busybox mount -t ext4 -o ro /dev/vdb /root/usr/lib/modules
$busybox mount -t ext4 -o ro /dev/vdc /root/payload

for directory in dev proc sys; do
    $busybox mount --move /$directory /root/$directory
done
exec $busybox switch_root /root /bin/bash /payload/boot
